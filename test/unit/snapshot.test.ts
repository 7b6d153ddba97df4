import { describe, expect, it } from 'vitest'
import { snapshot } from '../../functions/snapshot.ts'
import { Failure } from '../../shared/failures.ts'
import { show } from '../../shared/names.ts'
import type { Lease } from '../../shared/ports/journal.ts'
import type { Volumes } from '../../shared/ports/volumes.ts'
import type { MessageOf } from '../../shared/run.ts'
import { context, disk, due, instance, leasesOf, nowMs, portsOf, server, source, tagWish, yes } from './given.ts'

type Freeze = MessageOf<'snapshot'>['freeze']
const epoch = 3
const frozen: Freeze = { is: 'frozen', epoch, askedAtMs: nowMs - 400 }
const noted: Lease = {
  key: `instance/${instance}`,
  version: 2,
  holder: tagWish.run,
  epoch,
  untilMs: nowMs + 30_000,
  freeze: { askedAtMs: nowMs - 400, isConfirmed: true, host: 'one' },
  thawed: null,
}

/** `held`: what the guest says of its freeze each time that it is asked. */
function inSituation(given: {
  freeze?: Freeze
  policy?: 'none' | 'prefer' | 'require'
  held?: boolean[]
  hasHeld?: () => Promise<never>
  thaw?: () => Promise<'thawed'>
  proves?: 'filesystem' | 'crash'
  lease?: Lease
  vmState?: string
}) {
  const { freeze = frozen, policy = 'prefer', held = [true, true], lease = noted } = given
  const answers = [...held]
  const leases = leasesOf(lease)
  const { ports, calls } = portsOf({
    compute: { find: async () => server({ vmState: given.vmState ?? 'active' }) },
    home: { ensureSnapshot: yes },
    guest: {
      proves: given.proves ?? 'filesystem',
      thaw: given.thaw ?? (async () => 'thawed'),
      hasHeld: given.hasHeld ?? (async () => answers.shift() ?? false),
    },
    leases,
  })
  const act = () =>
    snapshot(due<'snapshot'>({ step: 'snapshot', wish: tagWish, disk, policy, freeze }), ports, context())
  return { act, ports, calls, lease: () => leases.of(noted.key) }
}
const unheard = async () => {
  throw new Failure('GUEST_UNREACHABLE', 'x')
}
const verdict = (consistency: object) => ({ is: 'done', next: { step: 'clone', why: [], consistency } })

describe('the snapshot of a frozen guest', () => {
  it('is taken between two looks at the guest, with nothing else in the window, and thawed at once', async () => {
    const { act, calls } = inSituation({})
    await act()
    expect(calls.slice(2, 7)).toEqual([
      `guest.hasHeld ${instance} ${String(nowMs + 4_600)}`,
      `ceph.ensureSnapshot ${show(source)}`,
      `guest.hasHeld ${instance} ${String(nowMs + 4_600)}`,
      `leases.find instance/${instance}`,
      `guest.thaw ${instance}`,
    ])
  })

  it('stood still for no time at all, and not for less, by a clock that is behind that of whoever froze it', async () => {
    const askedAtMs = nowMs + 700
    const { act } = inSituation({
      freeze: { ...frozen, askedAtMs },
      lease: { ...noted, freeze: { askedAtMs, isConfirmed: true, host: 'one' } },
    })
    expect(await act()).toMatchObject(verdict({ verdict: 'filesystem', frozenMs: 0 }))
  })

  it.each(['prefer', 'require'] as const)(
    'is consistent by evidence when it was frozen before and after (%s)',
    async (policy) => {
      const { act, lease } = inSituation({ policy })
      expect(await act()).toMatchObject(
        verdict({ verdict: 'filesystem', why: 'the guest was frozen before and after the snapshot', frozenMs: 400 }),
      )
      expect(lease()).toMatchObject({ holder: null, freeze: null })
    },
  )

  it.each([
    ['before', [false]],
    ['during', [true, false]],
  ])('is only crash consistent when the guest thawed %s it: %j', async (when, held) => {
    const { act, calls } = inSituation({ held })
    expect(await act()).toMatchObject(verdict({ verdict: 'crash', why: `the guest thawed ${when} the snapshot` }))
    expect(calls).toContain(`guest.thaw ${instance}`)
  })

  it('is only crash consistent when the freeze is no longer ours, though the guest be frozen', async () => {
    const others = { ...noted, epoch: epoch + 1, holder: 'another run' }
    const { act, lease } = inSituation({ lease: others })
    expect(await act()).toMatchObject(verdict({ verdict: 'crash' }))
    expect(lease()).toEqual(others)
  })

  it("is only crash consistent when the dead man's switch was quicker, and says how long the guest stood still until then", async () => {
    const thawed = { epoch, atMs: nowMs - 100 }
    const { act } = inSituation({ lease: { ...noted, holder: null, freeze: null, thawed } })
    expect(await act()).toMatchObject(
      verdict({ verdict: 'crash', why: 'the guest thawed before the snapshot', frozenMs: 300 }),
    )
  })

  it('that Ceph does not make lets the guest go on at once, to be tried again', async () => {
    const { act, ports, calls, lease } = inSituation({ held: [true, false] })
    const ensureSnapshot = async () => {
      throw new Failure('CEPH_UNREACHABLE', 'x')
    }
    ports.clusters['home'] = { ...ports.clusters['home'], ensureSnapshot } as Volumes
    await expect(act()).rejects.toMatchObject({ code: 'CEPH_UNREACHABLE' })
    expect(calls).toContain(`guest.thaw ${instance}`)
    expect(lease()).toMatchObject({ holder: null, freeze: null })
  })

  it('that was required is not even taken when the guest has thawed before', async () => {
    const { act, calls } = inSituation({ policy: 'require', held: [false] })
    await expect(act()).rejects.toMatchObject({ code: 'QUIESCE_LOST', kind: 'reject' })
    expect(calls.filter((call) => call.startsWith('ceph'))).toEqual([])
  })

  it('that was required is rejected when the guest thawed meanwhile, and the guest is left thawed', async () => {
    const { act, calls, lease } = inSituation({ policy: 'require', held: [true, false] })
    await expect(act()).rejects.toMatchObject({ code: 'QUIESCE_LOST' })
    expect(calls).toContain(`guest.thaw ${instance}`)
    expect(lease()).toMatchObject({ holder: null, freeze: null })
  })

  it('is as consistent as it was seen to be when the guest thaws at the second try', async () => {
    const answers = [unheard, async () => 'thawed' as const]
    const { act, lease } = inSituation({ thaw: async () => (answers.shift() ?? unheard)() })
    expect(await act()).toMatchObject(verdict({ verdict: 'filesystem' }))
    expect(lease()?.freeze).toBeNull()
  })

  it('keeps the freeze noted when the guest cannot be thawed, for the thaw that is armed', async () => {
    const { act, lease } = inSituation({ thaw: unheard })
    await expect(act()).rejects.toMatchObject({ code: 'GUEST_UNREACHABLE' })
    expect(lease()?.freeze).toEqual({ askedAtMs: nowMs - 400, isConfirmed: false, host: 'one' })
  })

  it('asks only when it is noted that another freeze may be on its way', async () => {
    const { act, calls, lease } = inSituation({ hasHeld: unheard, thaw: unheard })
    await expect(act()).rejects.toMatchObject({ code: 'GUEST_UNREACHABLE' })
    expect(calls.slice(0, 4)).toEqual([
      `leases.find instance/${instance}`,
      'leases.save',
      `guest.hasHeld ${instance} ${String(nowMs + 4_600)}`,
      `leases.find instance/${instance}`,
    ])
    expect(lease()?.freeze).toEqual({ askedAtMs: nowMs - 400, isConfirmed: false, host: 'one' })
  })

  it('is only crash consistent when an earlier delivery has asked in the same window', async () => {
    const asked = { ...noted, freeze: { askedAtMs: nowMs - 400, isConfirmed: false, host: 'one' } }
    const { act, calls, lease } = inSituation({ lease: asked })
    expect(await act()).toMatchObject(verdict({ verdict: 'crash' }))
    expect(calls.filter((call) => call.startsWith('guest'))).toEqual([`guest.thaw ${instance}`])
    expect(lease()).toMatchObject({ holder: null, freeze: null })
  })

  it('of a guest that was only paused is crash consistent, and says that', async () => {
    const { act } = inSituation({ proves: 'crash' })
    expect(await act()).toMatchObject(
      verdict({
        verdict: 'crash',
        why: 'the guest was paused before and after the snapshot, its file systems not flushed',
      }),
    )
  })
})

describe('the snapshot without a freeze', () => {
  it('is crash consistent, and says why there was none', async () => {
    const { act, calls } = inSituation({ freeze: { is: 'none', why: 'no freeze was asked for' } })
    expect(await act()).toMatchObject(verdict({ verdict: 'crash', why: 'no freeze was asked for', frozenMs: null }))
    expect(calls).toEqual([`ceph.ensureSnapshot ${show(source)}`])
  })

  it('is as good as offline when the instance is off before and after', async () => {
    const { act } = inSituation({ freeze: { is: 'offline', why: 'the instance is stopped' }, vmState: 'stopped' })
    expect(await act()).toMatchObject(verdict({ verdict: 'offline', why: 'the instance is stopped', frozenMs: null }))
  })

  it('is only crash consistent when the instance was started meanwhile', async () => {
    const { act } = inSituation({ freeze: { is: 'offline', why: 'the instance is stopped' }, vmState: 'active' })
    expect(await act()).toMatchObject(
      verdict({ verdict: 'crash', why: 'the instance is stopped, but not any more after the snapshot' }),
    )
  })
})

describe('a snapshot in a cluster that is no longer configured', () => {
  it('is parked, and says which', async () => {
    const { ports } = portsOf({})
    const message = due<'snapshot'>({
      step: 'snapshot',
      wish: tagWish,
      disk: { ...disk, cluster: 'west' },
      policy: 'none',
      freeze: { is: 'none', why: '' },
    })
    await expect(snapshot(message, ports, context())).rejects.toMatchObject({
      code: 'BAD_SETTING',
      words: expect.stringContaining('west') as string,
    })
  })
})
