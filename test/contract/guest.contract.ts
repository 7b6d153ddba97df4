import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { Guest } from '../../shared/ports/guest.ts'
import { expectFailure, patient, untilDone } from './outcome.ts'

export interface GuestWorld {
  guest: Guest
  /** a running server; `stopped`: the agent's channel is there and nobody answers */
  makeServer(agent: 'on' | 'none' | 'stopped'): Promise<string>
  /** what the guest itself says */
  isFrozen(instance: string): Promise<boolean>
  /** how often it was frozen, and how often somebody asked a frozen one to freeze */
  freezes(instance: string): Promise<{ count: number; refused: number }>
  stop(instance: string): Promise<void>
  close(): Promise<void>

  /** Another client of the same channel died in the middle of a request. */
  halfARequest?: (instance: string) => Promise<void>
  /** The agent freezes and never says so. */
  neverAnswersFreeze?: (instance: string, never: boolean) => Promise<void>
}

export function describeGuest(name: string, make: () => Promise<GuestWorld>): void {
  describe(`guest: ${name}`, { timeout: 30_000 }, () => {
    let world: GuestWorld
    let guest: Guest
    beforeAll(async () => {
      world = await make()
      guest = world.guest
    }, 30_000)
    afterAll(() => world.close())

    it('freezes, is frozen until it is thawed, and says so', async () => {
      const id = await world.makeServer('on')
      expect(await guest.state(id, patient())).toBe('thawed')
      await guest.freeze(id, patient())
      expect([await guest.state(id, patient()), await world.isFrozen(id)]).toEqual(['frozen', true])
      await guest.thaw(id, patient())
      expect([await guest.state(id, patient()), await world.isFrozen(id)]).toEqual(['thawed', false])
    })

    it('frozen already is success, and is not asked for twice', async () => {
      const id = await world.makeServer('on')
      await guest.freeze(id, patient())
      await guest.freeze(id, patient())
      expect(await world.freezes(id)).toEqual({ count: 1, refused: 0 })
      await guest.thaw(id, patient())
    })

    it('is thawed twice, or without a freeze, without harm', async () => {
      const id = await world.makeServer('on')
      await guest.thaw(id, patient())
      await guest.freeze(id, patient())
      await guest.thaw(id, patient())
      await guest.thaw(id, patient())
      expect(await world.isFrozen(id)).toBe(false)
    })

    it('without an agent cannot be frozen, its state is unknown, and it needs no thaw', async () => {
      const id = await world.makeServer('none')
      await expectFailure(guest.freeze(id, patient()), 'QUIESCE_UNAVAILABLE')
      expect(await guest.state(id, patient())).toBe('unknown')
      await guest.thaw(id, patient())
    })

    it('that was powered off needs no thaw', async () => {
      const id = await world.makeServer('on')
      await guest.freeze(id, patient())
      await world.stop(id)
      await untilDone(
        () => guest.state(id, patient()),
        (state) => state === 'unknown',
      )
      await guest.thaw(id, patient())
    })

    it('whose agent does not answer is GUEST_UNREACHABLE', async () => {
      const id = await world.makeServer('stopped')
      await expectFailure(guest.freeze(id, patient()), 'GUEST_UNREACHABLE')
      await expectFailure(guest.state(id, patient()), 'GUEST_UNREACHABLE')
      await expectFailure(guest.thaw(id, patient()), 'GUEST_UNREACHABLE')
    })

    it('whose freeze is never answered may be frozen, and can be thawed', async (test) => {
      if (!world.neverAnswersFreeze) return test.skip('this world has no neverAnswersFreeze')
      const id = await world.makeServer('on')
      await world.neverAnswersFreeze(id, true)
      await expectFailure(guest.freeze(id, patient()), 'GUEST_UNREACHABLE')
      expect(await guest.state(id, patient())).toBe('frozen')
      await world.neverAnswersFreeze(id, false)
      await guest.thaw(id, patient())
      expect(await world.isFrozen(id)).toBe(false)
    })

    it('understands its agent also after a client that died in the middle of a request', async (test) => {
      if (!world.halfARequest) return test.skip('this world has no halfARequest')
      const id = await world.makeServer('on')
      await world.halfARequest(id)
      await guest.freeze(id, patient())
      await world.halfARequest(id)
      expect(await guest.state(id, patient())).toBe('frozen')
      await guest.thaw(id, patient())
    })

    it('clients at the same time take turns', async () => {
      const id = await world.makeServer('on')
      const all = Array.from({ length: 5 }, () => guest.freeze(id, patient()))
      await Promise.all(all)
      expect((await world.freezes(id)).count).toBe(1)
      await Promise.all([guest.thaw(id, patient()), guest.state(id, patient())])
      expect(await world.isFrozen(id)).toBe(false)
    })

    it('ends with its caller', async () => {
      const id = await world.makeServer('stopped')
      await expectFailure(guest.state(id, AbortSignal.timeout(50)), 'TIMEOUT')
      await expectFailure(guest.freeze(id, AbortSignal.abort()), 'TIMEOUT')
    })

    it.each(['../../run/docker', '', `${randomUUID()}/..`])('%j is not an instance', async (id) => {
      await expectFailure(guest.freeze(id, patient()), 'BAD_REQUEST')
    })
  })
}
