import { describe, expect, it } from 'vitest'
import { isThawed, release } from '../../shared/freeze.ts'
import type { Server } from '../../shared/ports/compute.ts'
import type { Lease } from '../../shared/ports/journal.ts'
import { context, instance, leasesOf, nowMs, portsOf, server, yes } from './given.ts'

type State = 'frozen' | 'thawed' | 'unknown'

function inSituation(states: State[], now: Server | null = server()) {
  const answers = [...states]
  return portsOf({
    guest: { thaw: yes, state: async () => answers.shift() ?? 'unknown' },
    compute: { find: async () => now },
  })
}

describe('a guest is thawed', () => {
  it.each<[State, boolean]>([
    ['thawed', true],
    ['frozen', false],
  ])('when it says so itself, after a thaw: %s', async (state, expected) => {
    const { ports, calls } = inSituation([state])
    expect(await isThawed(instance, ports, context())).toBe(expected)
    expect(calls).toEqual([`guest.thaw ${instance}`, `guest.state ${instance}`])
  })

  it.each<[string, Server]>([
    ['is suspended', server({ vmState: 'suspended' })],
    ['is being suspended', server({ taskState: 'suspending' })],
    ['is suspended by Nova for its own copy', server({ taskState: 'image_uploading' })],
  ])('not as long as nobody can ask it because it %s: it comes back as frozen as it went', async (_why, now) => {
    expect(await isThawed(instance, inSituation(['unknown'], now).ports, context())).toBe(false)
  })

  it.each<[string, Server | null]>([
    ['runs and has no agent', server()],
    ['is stopped', server({ vmState: 'stopped' })],
    ['is gone', null],
  ])('when it %s', async (_why, now) => {
    expect(await isThawed(instance, inSituation(['unknown', 'unknown'], now).ports, context())).toBe(true)
  })

  it('not when it came back, frozen, while Nova was asked', async () => {
    expect(await isThawed(instance, inSituation(['unknown', 'frozen']).ports, context())).toBe(false)
  })
})

describe('the lease of an instance', () => {
  const lease: Lease = {
    key: `instance/${instance}`,
    version: 5,
    holder: 'a run',
    epoch: 2,
    untilMs: nowMs,
    freeze: { askedAtMs: nowMs - 300, isConfirmed: true },
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
