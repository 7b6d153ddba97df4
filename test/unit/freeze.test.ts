import { describe, expect, it } from 'vitest'
import { Failure } from '../../shared/failures.ts'
import { isThawed, release } from '../../shared/freeze.ts'
import type { Server } from '../../shared/ports/compute.ts'
import type { Lease } from '../../shared/ports/journal.ts'
import { context, instance, leasesOf, nowMs, portsOf, server } from './given.ts'

const at = { instance, host: 'one' }
type Heard = 'thawed' | 'unheard'

function inSituation(answers: Heard[], now: Server | null = server()) {
  const left = [...answers]
  return portsOf({
    guest: { thaw: async () => left.shift() ?? 'unheard' },
    compute: { find: async () => now },
  })
}

describe('a guest is thawed', () => {
  it('when it says so itself', async () => {
    const { ports, calls } = inSituation(['thawed'])
    expect(await isThawed(at, ports, context())).toBe(true)
    expect(calls).toEqual([`guest.thaw ${instance}`])
  })

  it.each<[string, Server]>([
    ['is suspended', server({ vmState: 'suspended' })],
    ['is being suspended', server({ taskState: 'suspending' })],
    ['is suspended by Nova for its own copy', server({ taskState: 'image_uploading' })],
  ])('not as long as nobody can ask it because it %s: it comes back as frozen as it went', async (_why, now) => {
    expect(await isThawed(at, inSituation(['unheard'], now).ports, context())).toBe(false)
  })

  it.each<[string, Server | null]>([
    ['runs and has no agent', server()],
    ['is stopped', server({ vmState: 'stopped' })],
    ['is gone', null],
  ])('when it %s', async (_why, now) => {
    expect(await isThawed(at, inSituation(['unheard', 'unheard'], now).ports, context())).toBe(true)
  })

  it('also when it came back, frozen, while Nova was asked', async () => {
    const { ports, calls } = inSituation(['unheard', 'thawed'])
    expect(await isThawed(at, ports, context())).toBe(true)
    expect(calls.filter((call) => call.startsWith('guest.thaw'))).toHaveLength(2)
  })

  it('not when it came back and does not answer', async () => {
    const { ports } = inSituation(['unheard'])
    const { thaw } = ports.guest
    const answers = [thaw, hanging]
    ports.guest.thaw = async (id, signal) => (answers.shift() ?? hanging)(id, signal)
    await expect(isThawed(at, ports, context())).rejects.toMatchObject({ code: 'GUEST_UNREACHABLE' })
  })
})

const hanging = async () => {
  throw new Failure('GUEST_UNREACHABLE', 'x')
}

describe('the lease of an instance', () => {
  const lease: Lease = {
    key: `instance/${instance}`,
    version: 5,
    holder: 'a run',
    epoch: 2,
    untilMs: nowMs,
    freeze: { askedAtMs: nowMs - 300, isConfirmed: true, host: 'one' },
    thawed: null,
  }

  it('is free after a thaw, with a note of when that was', async () => {
    const leases = leasesOf(lease)
    await release(lease, nowMs, { leases })
    expect(leases.of(lease.key)).toMatchObject({ holder: null, freeze: null, thawed: { epoch: 2, atMs: nowMs } })
  })

  it('is left as it is when somebody else wrote it since', async () => {
    const others = { ...lease, version: 6, holder: 'another run', epoch: 3 }
    const leases = leasesOf(others)
    await release(lease, nowMs, { leases })
    expect(leases.of(lease.key)).toEqual(others)
  })
})
