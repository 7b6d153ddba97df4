import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type Credentials, type Identity, keystone } from '../../shared/adapters/keystone.ts'
import { codeOf, expectFailure, patient } from './outcome.ts'

type Interface = 'public' | 'internal'

/** A Keystone with our service user in it, and hands that are not the adapter's. */
export interface IdentityWorld {
  credentials: Credentials
  endpoints: Record<'image' | 'compute', Record<Interface, string>>
  /** made by the service user for itself */
  applicationCredential(): Promise<
    Required<Pick<Credentials, 'applicationCredentialId' | 'applicationCredentialSecret'>>
  >
  /** whether Keystone itself still takes this token */
  takes(token: string): Promise<boolean>
  revoke(token: string): Promise<void>
  /** The next call is cut off. */
  cutOff(method: 'POST', when: 'before' | 'after'): void
  /** The next call is answered with this. */
  answer(status: number, body: string): void
  close(): Promise<void>
}

export function describeIdentity(name: string, make: () => Promise<IdentityWorld>): void {
  describe(`identity: ${name}`, { timeout: 60_000 }, () => {
    let world: IdentityWorld
    beforeAll(async () => {
      world = await make()
    }, 60_000)
    afterAll(() => world.close())

    const withNow = (nowMs = () => Date.now(), more: Partial<Credentials> = {}): Identity =>
      keystone({ ...world.credentials, ...more }, { nowMs })

    it('is asked once for a token, whoever needs one, and gives the endpoints with it', async () => {
      const identity = withNow()
      const tokens = await Promise.all(Array.from({ length: 8 }, () => identity.token(patient())))
      expect(new Set(tokens).size).toBe(1)
      expect(await world.takes(await identity.token(patient()))).toBe(true)
      for (const side of ['public', 'internal'] as const) {
        const bySide = withNow(undefined, { interface: side })
        expect(await bySide.endpoint('image', patient())).toBe(world.endpoints.image[side])
        expect(await bySide.endpoint('compute', patient())).toBe(world.endpoints.compute[side])
      }
    })

    it('is asked again for a token that a service refused, and before one ends', async () => {
      let nowMs = Date.now()
      const identity = withNow(() => nowMs)
      const first = await identity.token(patient())
      identity.forget('another')
      expect(await identity.token(patient())).toBe(first)
      identity.forget(first)
      const second = await identity.token(patient())
      expect(second).not.toBe(first)
      nowMs += 3_590_000
      expect(await identity.token(patient())).not.toBe(second)
    })

    it('knows nothing more of a token that was revoked, and gives another one when told', async () => {
      const identity = withNow()
      const first = await identity.token(patient())
      await world.revoke(first)
      expect(await world.takes(first)).toBe(false)
      expect(await identity.token(patient())).toBe(first)
      identity.forget(first)
      expect(await world.takes(await identity.token(patient()))).toBe(true)
    })

    it('that refuses the password is left alone for a minute', async () => {
      let nowMs = Date.now()
      const identity = withNow(() => nowMs, { password: 'mistyped' })
      const refusedBy = async () => {
        const failure = await identity.token(patient()).catch((error: unknown) => error)
        expect(failure).toMatchObject({ code: 'KEYSTONE_REFUSED' })
        expect((failure as Error).message).toMatch(/401/)
        expect((failure as Error).message).not.toContain('mistyped')
        return failure
      }
      const first = await refusedBy()
      expect(await refusedBy()).toBe(first)
      nowMs += 61_000
      expect(await refusedBy()).not.toBe(first)
    })

    it('says the same of a user, a project and a domain that it does not know', async () => {
      const unknown = [{ username: 'nobody' }, { projectName: 'nowhere' }, { userDomainName: 'Elsewhere' }]
      for (const credentials of unknown)
        await expectFailure(withNow(undefined, credentials).token(patient()), 'KEYSTONE_REFUSED', /401/)
    })

    for (const when of ['before', 'after'] as const) {
      it(`that is away ${when} it took the question is KEYSTONE_UNREACHABLE, and is asked again`, async () => {
        const identity = withNow()
        world.cutOff('POST', when)
        expect(await codeOf(identity.token(patient()))).toBe('KEYSTONE_UNREACHABLE')
        expect(await codeOf(identity.token(patient()))).toBe('ok')
      })
    }

    it('that answers with something else is quoted, and asked again', async () => {
      const identity = withNow()
      world.answer(503, '<h1>Service Unavailable</h1>')
      await expectFailure(identity.token(patient()), 'KEYSTONE_UNREACHABLE', /503: Service Unavailable/)
      world.answer(201, '<h1>Welcome</h1>')
      await expectFailure(identity.token(patient()), 'ANSWER_UNREADABLE', /Welcome/)
      expect(await codeOf(identity.token(patient()))).toBe('ok')
    })

    it('takes an application credential, which has no scope', async () => {
      const { authUrl, region } = world.credentials
      const made = await world.applicationCredential()
      const identity = keystone({ authUrl, region, ...made }, { nowMs: () => Date.now() })
      expect(await world.takes(await identity.token(patient()))).toBe(true)
      expect(await identity.endpoint('image', patient())).toBe(world.endpoints.image.public)

      const forged = { authUrl, ...made, applicationCredentialSecret: 'mistyped' }
      const refused = keystone(forged, { nowMs: () => Date.now() })
      await expectFailure(refused.token(patient()), 'KEYSTONE_REFUSED', new RegExp(made.applicationCredentialId ?? ''))
    })

    it('without the wanted endpoint is a wrong setting', async () => {
      const identity = withNow(undefined, { region: 'Elsewhere' })
      await expectFailure(identity.endpoint('image', patient()), 'BAD_SETTING', /Elsewhere/)
    })

    it('a caller that gave up is told TIMEOUT', async () => {
      await expectFailure(withNow().token(AbortSignal.abort()), 'TIMEOUT')
    })
  })
}
