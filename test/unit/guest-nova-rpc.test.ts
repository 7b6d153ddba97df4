import { describe, expect, it } from 'vitest'
import { guestNovaRpc } from '../../shared/adapters/guest-nova-rpc.ts'
import type { Reply } from '../../shared/adapters/nova-rpc.ts'
import { Failure } from '../../shared/failures.ts'
import type { Server } from '../../shared/ports/compute.ts'
import { instance, server } from './given.ts'

const done: Reply = { is: 'done' }
const failed = (error: string, words = ''): Reply => ({ is: 'failed', error, words })
const libvirt = (words: string) =>
  failed('InternalError', `Error from libvirt while quiescing instance-00000001: [Error Code 1] ${words}`)
const frozen = libvirt(
  "internal error: unable to execute QEMU agent command 'guest-fsfreeze-freeze': Command guest-fsfreeze-freeze has been disabled: the agent is in frozen state",
)
const frozenOld = libvirt(
  "internal error: unable to execute QEMU agent command 'guest-fsfreeze-freeze': Command guest-fsfreeze-freeze has been disabled",
)
const offOrPaused = libvirt('Requested operation is not valid: domain is not running')
const notConnected = libvirt('Guest agent is not responding: QEMU guest agent is not connected')
const at = { instance, host: null }
const signal = new AbortController().signal
const soon = () => Date.now() + 60_000

/** `answers`: nova-compute's, one a call; `servers`: what Nova says of the instance, each time that it is asked, the last one on. */
function inSituation(answers: (Reply | Failure)[], servers: (Server | null)[] = [server({ host: 'one' })]) {
  const calls: string[] = []
  const left = [...servers]
  const guest = guestNovaRpc(
    async (host, { method, version }) => {
      calls.push(`${host} ${method.replace('_instance', '')} ${version}`)
      const answer = answers.shift() ?? done
      if (answer instanceof Failure) throw answer
      return answer
    },
    { find: async () => (left.length > 1 ? left.shift() : left[0]) ?? null },
  )
  return { guest, calls }
}

describe("a guest behind Nova's RPC", () => {
  it('is reached by a thaw, which changes nothing and shows that all of the road is there', async () => {
    const { guest, calls } = inSituation([])
    expect(await guest.reach(at, signal)).toEqual({ instance, host: 'one' })
    expect(calls).toEqual(['one unquiesce 6.0'])
  })

  it.each([
    ['QemuGuestAgentNotEnabled', 'QUIESCE_UNAVAILABLE'],
    ['InstanceQuiesceNotSupported', 'QUIESCE_UNAVAILABLE'],
    ['NotImplementedError', 'QUIESCE_UNAVAILABLE'],
    ['Forbidden', 'GUEST_UNREACHABLE'],
  ])('that answers %s is %s', async (error, code) => {
    await expect(inSituation([failed(error, 'why')]).guest.reach(at, signal)).rejects.toMatchObject({
      code,
      words: `instance ${instance}: nova-compute on one answered ${error}: why`,
    })
  })

  it("without an agent that listens now is GUEST_UNREACHABLE, in libvirt's words", async () => {
    await expect(inSituation([notConnected]).guest.freeze(at, soon(), signal)).rejects.toMatchObject({
      code: 'GUEST_UNREACHABLE',
      words: expect.stringContaining('InternalError: Guest agent is not responding: QEMU guest agent') as unknown,
    })
  })

  it('has held its freeze when it refuses another one', async () => {
    for (const refusal of [frozen, frozenOld])
      expect(await inSituation([refusal]).guest.hasHeld(at, soon(), signal)).toBe(true)
  })

  it('has not held it when it takes another one, nor when it does not run', async () => {
    expect(await inSituation([done]).guest.hasHeld(at, soon(), signal)).toBe(false)
    const stopped = server({ host: 'one', vmState: 'stopped' })
    expect(await inSituation([offOrPaused], [stopped]).guest.hasHeld(at, soon(), signal)).toBe(false)
  })

  it('is not asked for a freeze when it is too late for one', async () => {
    const { guest, calls } = inSituation([])
    expect(await guest.hasHeld(at, Date.now() - 1, signal)).toBe(false)
    expect(calls).toEqual([])
  })

  it('frozen already is success; a freeze that is forbidden is none', async () => {
    await inSituation([frozen]).guest.freeze(at, soon(), signal)
    await expect(inSituation([frozenOld]).guest.freeze(at, soon(), signal)).rejects.toMatchObject({
      code: 'QUIESCE_UNAVAILABLE',
    })
  })

  it('is asked in the version that its nova-compute speaks, which is tried first from then on', async () => {
    const { guest, calls } = inSituation([failed('UnsupportedVersion')])
    await guest.reach(at, signal)
    await guest.freeze(at, soon(), signal)
    expect(calls).toEqual(['one unquiesce 6.0', 'one unquiesce 5.0', 'one quiesce 5.0'])
  })

  it('whose nova-compute speaks none of them is QUIESCE_UNAVAILABLE', async () => {
    const { guest, calls } = inSituation([failed('UnsupportedVersion'), failed('UnsupportedVersion')])
    await expect(guest.reach(at, signal)).rejects.toMatchObject({ code: 'QUIESCE_UNAVAILABLE' })
    expect(calls).toHaveLength(2)
  })

  it('is asked where it was found, without asking Nova', async () => {
    const { guest, calls } = inSituation([], [])
    await guest.thaw({ instance, host: 'one' }, signal)
    expect(calls).toEqual(['one unquiesce 6.0'])
  })

  it('is followed when it has moved, be it that it was moved from a host that does not answer', async () => {
    for (const answer of [failed('InstanceNotFound'), new Failure('GUEST_UNREACHABLE', 'no answer')]) {
      const { guest, calls } = inSituation([answer, done], [server({ host: 'two' })])
      expect(await guest.reach({ instance, host: 'one' }, signal)).toEqual({ instance, host: 'two' })
      expect(calls).toEqual(['one unquiesce 6.0', 'two unquiesce 6.0'])
    }
  })

  it.each<[string, Server | null]>([
    ['is gone', null],
    ['is stopped', server({ host: 'one', vmState: 'stopped' })],
    ['is shelved', server({ host: null, vmState: 'shelved_offloaded' })],
    ['is saved to disk', server({ host: 'one', vmState: 'suspended' })],
    ['is saved to disk by Nova for its own copy', server({ host: 'one', taskState: 'image_uploading' })],
  ])('that %s hears no thaw', async (_how, now) => {
    expect(await inSituation([offOrPaused], [now]).guest.thaw(at, signal)).toBe('unheard')
  })

  it.each<[string, Server]>([
    ['active', server({ host: 'one' })],
    ['paused', server({ host: 'one', vmState: 'paused' })],
    ['on its way to another host', server({ host: 'one', taskState: 'migrating' })],
  ])('that does not run, while Nova says that it is %s, may be frozen still', async (_how, now) => {
    await expect(inSituation([offOrPaused], [now]).guest.thaw(at, signal)).rejects.toMatchObject({
      code: 'GUEST_UNREACHABLE',
    })
  })
})
