import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { Cloud } from '../../infra/cloud/main.ts'
import { keystone } from '../../shared/adapters/keystone.ts'
import { describeCompute } from './compute.contract.ts'
import { dashboardWorld } from './embedded-ceph.ts'
import { clock, openTestCloud } from './embedded-cloud.ts'
import { computeWorld, credentialsOf, guestWorld, imagesWorld } from './embedded-openstack.ts'
import { describeGuest } from './guest.contract.ts'
import { describeImages } from './images.contract.ts'
import { codeOf, expectFailure, patient } from './outcome.ts'
import { describeVolumes } from './volumes.contract.ts'

let cloud: Cloud
let close: () => Promise<void>
beforeAll(async () => {
  ;({ cloud, close } = await openTestCloud(1))
}, 30_000)
afterAll(() => close())

describeVolumes('the dashboard', async () => dashboardWorld(cloud))
describeVolumes('the dashboard, clone format 2', async () => {
  const other = await openTestCloud(2)
  return { ...dashboardWorld(other.cloud), close: other.close }
})
describeImages('Glance', async () => imagesWorld(cloud))
describeCompute('Nova', async () => computeWorld(cloud))
describeGuest("qemu's guest agent", async () => guestWorld(cloud))

describe('Keystone', () => {
  it('is asked once for a token, whoever needs one, and gives the endpoints with it', async () => {
    const identity = keystone(credentialsOf(cloud), clock)
    const tokens = await Promise.all(Array.from({ length: 8 }, () => identity.token(patient())))
    expect(new Set(tokens).size).toBe(1)
    expect(await identity.endpoint('image', patient())).toBe(cloud.urls.glance)
    const internal = keystone({ ...credentialsOf(cloud), interface: 'internal' }, clock)
    expect(await internal.endpoint('image', patient())).toBe(cloud.urls.glanceInternal)
  })

  it('is asked again for a token that a service refused, and before one ends', async () => {
    let nowMs = Date.now()
    const identity = keystone(credentialsOf(cloud), { nowMs: () => nowMs })
    const first = await identity.token(patient())
    identity.forget('another')
    expect(await identity.token(patient())).toBe(first)
    identity.forget(first)
    const second = await identity.token(patient())
    expect(second).not.toBe(first)
    nowMs += 3_590_000
    expect(await identity.token(patient())).not.toBe(second)
  })

  it('that refuses the password is left alone for a minute', async () => {
    let nowMs = Date.now()
    const credentials = { ...credentialsOf(cloud), password: 'wrong' }
    const identity = keystone(credentials, { nowMs: () => nowMs })
    const refusedBy = async () => {
      const failure = await identity.token(patient()).catch((error: unknown) => error)
      expect(failure).toMatchObject({ code: 'KEYSTONE_REFUSED' })
      expect((failure as Error).message).not.toContain('wrong')
      return failure
    }
    const first = await refusedBy()
    expect(await refusedBy()).toBe(first)
    nowMs += 61_000
    expect(await refusedBy()).not.toBe(first)
  })

  it('that is away is KEYSTONE_UNREACHABLE, and is asked again', async () => {
    const identity = keystone(credentialsOf(cloud), clock)
    cloud.faults.add({ service: 'keystone', when: 'before', does: { is: 'drop' }, times: 1 })
    expect(await codeOf(identity.token(patient()))).toBe('KEYSTONE_UNREACHABLE')
    expect(await codeOf(identity.token(patient()))).toBe('ok')
  })

  it('takes an application credential, which has no scope', async () => {
    const user = keystone(credentialsOf(cloud), clock)
    const token = await user.token(patient())
    const headers = { 'x-auth-token': token, 'x-subject-token': token, 'content-type': 'application/json' }
    const shown = (await (await fetch(`${cloud.urls.keystone}/auth/tokens`, { headers })).json()) as {
      token: { user: { id: string } }
    }
    const made = await fetch(`${cloud.urls.keystone}/users/${shown.token.user.id}/application_credentials`, {
      method: 'POST',
      headers,
      body: JSON.stringify({ application_credential: { name: 'rbdsnap' } }),
    })
    const { application_credential: credential } = (await made.json()) as {
      application_credential: { id: string; secret: string }
    }
    const { authUrl, region } = credentialsOf(cloud)
    const byCredential = keystone(
      { authUrl, region, applicationCredentialId: credential.id, applicationCredentialSecret: credential.secret },
      clock,
    )
    expect(await byCredential.token(patient())).not.toBe(token)
  })

  it('without the wanted endpoint is a wrong setting', async () => {
    const identity = keystone({ ...credentialsOf(cloud), region: 'Elsewhere' }, clock)
    await expectFailure(identity.endpoint('image', patient()), 'BAD_SETTING', /Elsewhere/)
  })
})
