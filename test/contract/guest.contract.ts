import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { Guest, GuestAt } from '../../shared/ports/guest.ts'
import { codeOf, expectFailure, patient, untilDone } from './outcome.ts'

export interface GuestWorld {
  guest: Guest
  /** a running server; `stopped`: the agent's channel is there and nobody answers */
  makeServer(agent: 'on' | 'none' | 'stopped'): Promise<string>
  /** what the guest itself says */
  isFrozen(instance: string): Promise<boolean>
  close(): Promise<void>
  /** Pausing is the hypervisor's and needs nobody in the guest. */
  needsNoAgent?: boolean

  stop?: (instance: string) => Promise<void>
  /** The processors stand still, with the freeze in the memory. */
  pause?: (instance: string, isPaused: boolean) => Promise<void>
  /** how often it was frozen, and how often somebody asked a frozen one to freeze */
  freezes?: (instance: string) => Promise<{ count: number; refused: number }>
  /** Another client of the same channel died in the middle of a request. */
  halfARequest?: (instance: string) => Promise<void>
  /** The agent freezes and never says so. */
  neverAnswersFreeze?: (instance: string, never: boolean) => Promise<void>
  /** Somebody who is not us holds it where it is. */
  heldByAnother?: (instance: string) => Promise<void>
}

const at = (instance: string): GuestAt => ({ instance, host: null })
const soon = () => Date.now() + 60_000

export function describeGuest(name: string, make: () => Promise<GuestWorld>): void {
  describe(`guest: ${name}`, { timeout: 120_000 }, () => {
    let world: GuestWorld
    let guest: Guest
    beforeAll(async () => {
      world = await make()
      guest = world.guest
    }, 120_000)
    afterAll(() => world.close())

    it('is reached, freezes, and is frozen until it is thawed', async () => {
      const id = await world.makeServer('on')
      const where = await guest.reach(at(id), patient())
      expect([where.instance, await world.isFrozen(id)]).toEqual([id, false])
      await guest.freeze(where, soon(), patient())
      expect([await guest.hasHeld(where, soon(), patient()), await world.isFrozen(id)]).toEqual([true, true])
      expect([await guest.hasHeld(where, soon(), patient()), await world.isFrozen(id)]).toEqual([true, true])
      expect([await guest.thaw(where, patient()), await world.isFrozen(id)]).toEqual(['thawed', false])
    })

    it('frozen already is success, and one thaw ends it', async () => {
      const id = await world.makeServer('on')
      await guest.freeze(at(id), soon(), patient())
      await guest.freeze(at(id), soon(), patient())
      if (world.freezes) expect((await world.freezes(id)).count).toBe(1)
      await guest.thaw(at(id), patient())
      expect(await world.isFrozen(id)).toBe(false)
    })

    it('is thawed twice, or without a freeze, without harm', async () => {
      const id = await world.makeServer('on')
      expect(await guest.thaw(at(id), patient())).toBe('thawed')
      await guest.freeze(at(id), soon(), patient())
      await guest.thaw(at(id), patient())
      expect(await guest.thaw(at(id), patient())).toBe('thawed')
      expect(await world.isFrozen(id)).toBe(false)
    })

    it('that somebody thawed has not held, and is thawed after that answer', async () => {
      const id = await world.makeServer('on')
      await guest.freeze(at(id), soon(), patient())
      await guest.thaw(at(id), patient())
      expect(await guest.hasHeld(at(id), soon(), patient())).toBe(false)
      await guest.thaw(at(id), patient())
      expect(await world.isFrozen(id)).toBe(false)
    })

    it('is not frozen by a caller who comes too late', async () => {
      const id = await world.makeServer('on')
      await guest.reach(at(id), patient())
      await expectFailure(guest.freeze(at(id), Date.now() - 1, patient()), 'TIMEOUT')
      expect(await guest.hasHeld(at(id), Date.now() - 1, patient())).toBe(false)
      expect(await world.isFrozen(id)).toBe(false)
    })

    it('without an agent can be neither reached nor frozen, and needs no thaw', async (test) => {
      if (world.needsNoAgent) return test.skip('this world needs no agent')
      const id = await world.makeServer('none')
      await expectFailure(guest.reach(at(id), patient()), 'QUIESCE_UNAVAILABLE')
      await expectFailure(guest.freeze(at(id), soon(), patient()), 'QUIESCE_UNAVAILABLE')
      // one way knows that there is no agent, another only that nobody is there
      expect(['ok', 'QUIESCE_UNAVAILABLE']).toContain(await codeOf(guest.thaw(at(id), patient())))
    })

    it('that was powered off needs no thaw', async (test) => {
      if (!world.stop) return test.skip('this world has no stop')
      const id = await world.makeServer('on')
      await guest.freeze(at(id), soon(), patient())
      await world.stop(id)
      const said = await untilDone(
        () => guest.thaw(at(id), patient()),
        (answer) => answer === 'unheard',
      )
      expect(said).toBe('unheard')
    })

    it('that was paused while it was frozen is GUEST_UNREACHABLE until it runs again', async (test) => {
      if (!world.pause) return test.skip('this world has no pause')
      const id = await world.makeServer('on')
      await guest.freeze(at(id), soon(), patient())
      await world.pause(id, true)
      await expectFailure(guest.thaw(at(id), patient()), 'GUEST_UNREACHABLE')
      await world.pause(id, false)
      expect(await world.isFrozen(id)).toBe(true)
      expect([await guest.thaw(at(id), patient()), await world.isFrozen(id)]).toEqual(['thawed', false])
    })

    it('that somebody else stopped is not let go', async (test) => {
      if (!world.heldByAnother) return test.skip('this world has no heldByAnother')
      const id = await world.makeServer('on')
      await world.heldByAnother(id)
      await expectFailure(guest.reach(at(id), patient()), 'QUIESCE_UNAVAILABLE')
      await expectFailure(guest.freeze(at(id), soon(), patient()), 'QUIESCE_UNAVAILABLE')
      expect(await guest.hasHeld(at(id), soon(), patient())).toBe(false)
      expect([await guest.thaw(at(id), patient()), await world.isFrozen(id)]).toEqual(['thawed', true])
    })

    it('whose agent does not answer is GUEST_UNREACHABLE', async (test) => {
      if (world.needsNoAgent) return test.skip('this world needs no agent')
      const id = await world.makeServer('stopped')
      await expectFailure(guest.reach(at(id), patient()), 'GUEST_UNREACHABLE')
      await expectFailure(guest.thaw(at(id), patient()), 'GUEST_UNREACHABLE')
      await expectFailure(guest.freeze(at(id), soon(), patient()), 'GUEST_UNREACHABLE')
    })

    it('whose freeze is never answered may be frozen, and can be thawed', async (test) => {
      if (!world.neverAnswersFreeze) return test.skip('this world has no neverAnswersFreeze')
      const id = await world.makeServer('on')
      await world.neverAnswersFreeze(id, true)
      await expectFailure(guest.freeze(at(id), soon(), patient()), 'GUEST_UNREACHABLE')
      expect(await world.isFrozen(id)).toBe(true)
      await world.neverAnswersFreeze(id, false)
      await guest.thaw(at(id), patient())
      expect(await world.isFrozen(id)).toBe(false)
    })

    it('understands its agent also after a client that died in the middle of a request', async (test) => {
      if (!world.halfARequest) return test.skip('this world has no halfARequest')
      const id = await world.makeServer('on')
      await world.halfARequest(id)
      await guest.freeze(at(id), soon(), patient())
      await world.halfARequest(id)
      expect(await guest.hasHeld(at(id), soon(), patient())).toBe(true)
      await guest.thaw(at(id), patient())
    })

    it('callers at the same time do not harm each other', async () => {
      const id = await world.makeServer('on')
      const freezes = await Promise.allSettled(Array.from({ length: 5 }, () => guest.freeze(at(id), soon(), patient())))
      expect(freezes.some(({ status }) => status === 'fulfilled')).toBe(true)
      if (world.freezes) expect((await world.freezes(id)).count).toBe(1)
      await Promise.allSettled([guest.thaw(at(id), patient()), guest.thaw(at(id), patient())])
      expect([await guest.thaw(at(id), patient()), await world.isFrozen(id)]).toEqual(['thawed', false])
    })

    it('ends with its caller', async (test) => {
      await expectFailure(guest.freeze(at(randomUUID()), soon(), AbortSignal.abort()), 'TIMEOUT')
      if (world.needsNoAgent) return test.skip('this world needs no agent')
      const id = await world.makeServer('stopped')
      await expectFailure(guest.reach(at(id), AbortSignal.timeout(50)), 'TIMEOUT')
    })

    it.each(['../../run/docker', '', `${randomUUID()}/..`])('%j is not an instance', async (id) => {
      await expectFailure(guest.freeze(at(id), soon(), patient()), 'BAD_REQUEST')
    })
  })
}
