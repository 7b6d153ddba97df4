import { describe, expect, it } from 'vitest'
import { quiesce } from '../../functions/quiesce.ts'
import { Failure } from '../../shared/failures.ts'
import type { Server } from '../../shared/ports/compute.ts'
import type { Guest } from '../../shared/ports/guest.ts'
import type { Lease } from '../../shared/ports/journal.ts'
import type { RbdImage } from '../../shared/ports/volumes.ts'
import type { Message, Wish } from '../../shared/run.ts'
import {
  base,
  context,
  disk,
  due,
  gib,
  gone,
  image,
  instance,
  leasesOf,
  nowMs,
  portsOf,
  server,
  state,
  tagWish,
  takeOverWish,
  yes,
} from './given.ts'

const key = `instance/${instance}`
const noAgent = async () => {
  throw new Failure('QUIESCE_UNAVAILABLE', 'no agent.')
}
const reach: Guest['reach'] = async ({ instance }) => ({ instance, host: 'one' })
const thawed = async () => 'thawed' as const
const hanging = async () => {
  throw new Failure('GUEST_UNREACHABLE', 'no answer in 5 s.')
}

interface Situation {
  wish?: Wish
  server?: Partial<Server> | null
  guest?: Partial<Guest>
  properties?: Record<string, string>
  leases?: Lease[]
}

async function inSituation({ wish = tagWish, guest, leases = [], ...given }: Situation) {
  const sent: [Message, number | undefined][] = []
  const kept = leasesOf(...leases)
  const { ports, calls } = portsOf({
    compute: { find: async () => (given.server === null ? null : server(given.server)) },
    images: { find: async (id) => image({ id, properties: given.properties ?? {} }) },
    home: { find: async () => state() },
    guest: { proves: 'filesystem', reach, freeze: yes, thaw: thawed, ...guest },
    queue: { send: async (message, delayMs) => void sent.push([message, delayMs]) },
    leases: kept,
  })
  const act = () => quiesce(due<'quiesce'>({ step: 'quiesce', wish }), ports, context())
  return { act, ports, calls, sent, lease: () => kept.of(key) }
}
const wanting = (quiesce: Wish['quiesce']): Wish => ({ ...tagWish, quiesce })
const frozenBy = (holder: string, more: Partial<Lease> = {}): Lease => ({
  key,
  version: 4,
  holder,
  epoch: 7,
  untilMs: nowMs + 10_000,
  freeze: { askedAtMs: nowMs - 1_000, isConfirmed: true, host: 'one' },
  thawed: null,
  ...more,
})
const snapshotWith = (policy: string, freeze: unknown) => ({
  is: 'done',
  next: { step: 'snapshot', disk, policy, freeze },
})

describe('quiesce, with an agent in the guest', () => {
  it.each(['prefer', 'require'] as const)('freezes when the wish says %s, under a new epoch', async (policy) => {
    const { act, lease } = await inSituation({ wish: wanting(policy) })
    expect(await act()).toMatchObject(snapshotWith(policy, { is: 'frozen', epoch: 1, askedAtMs: nowMs }))
    expect(lease()).toMatchObject({
      holder: tagWish.run,
      epoch: 1,
      freeze: { askedAtMs: nowMs, isConfirmed: true, host: 'one' },
    })
  })

  it('arms the thaw before it freezes, with the epoch and the budget', async () => {
    const { act, calls, sent } = await inSituation({ wish: wanting('prefer') })
    await act()
    const order = calls.map((call) => call.split(' ')[0]).filter((call) => /queue|guest|leases\.save/.test(call ?? ''))
    expect(order).toEqual(['guest.reach', 'leases.save', 'queue.send', 'guest.freeze', 'leases.save'])
    expect(sent).toEqual([[{ v: 1, step: 'thaw', instance, epoch: 1 }, 5_000]])
  })

  it('does not touch the guest when the wish says none', async () => {
    const { act, calls } = await inSituation({ wish: wanting('none') })
    expect(await act()).toMatchObject(snapshotWith('none', { is: 'none', why: 'no freeze was asked for' }))
    expect(calls.filter((call) => call.startsWith('guest'))).toEqual([])
  })

  it('thaws and starts over when another delivery took its lease while it froze', async () => {
    const { act, ports, calls } = await inSituation({ wish: wanting('prefer') })
    const freeze = async () => {
      const lease = await ports.leases.find(key)
      if (lease) await ports.leases.save({ ...lease, untilMs: nowMs + 1 })
    }
    ports.guest = portsOf({
      guest: {
        reach,
        freeze,
        thaw: async () => {
          calls.push('thawed')
          return 'thawed'
        },
      },
    }).ports.guest
    expect(await act()).toEqual({ is: 'waiting', inMs: 1_000 })
    expect(calls).toContain('thawed')
  })
})

describe('quiesce, without an agent', () => {
  it('goes on without a freeze when one was only preferred, says so, and gives the lease back', async () => {
    const { act, lease } = await inSituation({ wish: wanting('prefer'), guest: { freeze: noAgent } })
    expect(await act()).toMatchObject(
      snapshotWith('prefer', { is: 'none', why: 'the guest could not be frozen: no agent.' }),
    )
    expect(lease()).toMatchObject({ holder: null, freeze: null })
  })

  it('rejects when a freeze was required, and leaves no freeze noted', async () => {
    const { act, lease } = await inSituation({ wish: wanting('require'), guest: { freeze: noAgent } })
    await expect(act()).rejects.toMatchObject({ code: 'QUIESCE_UNAVAILABLE', kind: 'reject' })
    expect(lease()).toMatchObject({ holder: null, freeze: null })
  })
})

describe('quiesce, where guests can only be paused', () => {
  it('rejects when a freeze was required, and pauses nobody', async () => {
    const { act, calls, lease } = await inSituation({ wish: wanting('require'), guest: { proves: 'crash' } })
    await expect(act()).rejects.toMatchObject({ code: 'QUIESCE_UNAVAILABLE' })
    expect(calls.filter((call) => call.startsWith('guest.'))).toEqual([])
    expect(lease()).toMatchObject({ holder: null, freeze: null })
  })

  it('pauses when a freeze was preferred', async () => {
    const { act } = await inSituation({ wish: wanting('prefer'), guest: { proves: 'crash' } })
    expect(await act()).toMatchObject(snapshotWith('prefer', { is: 'frozen' }))
  })
})

describe('quiesce, with an agent that hangs', () => {
  it.each([thawed, hanging])(
    'thaws, since the freeze may have taken effect, and goes on when it was only preferred',
    async (thaw) => {
      const { act, calls, lease } = await inSituation({ wish: wanting('prefer'), guest: { freeze: hanging, thaw } })
      expect(await act()).toMatchObject(
        snapshotWith('prefer', { is: 'none', why: 'the guest could not be frozen: no answer in 5 s.' }),
      )
      expect(calls).toContain(`guest.thaw ${instance}`)
      expect(lease()?.freeze).toEqual({ askedAtMs: nowMs, isConfirmed: false, host: 'one' })
    },
  )

  it('tries again when it was required, with the freeze still noted for the armed thaw', async () => {
    const { act, lease } = await inSituation({ wish: wanting('require'), guest: { freeze: hanging } })
    await expect(act()).rejects.toMatchObject({ code: 'GUEST_UNREACHABLE', kind: 'retry' })
    expect(lease()?.freeze).toEqual({ askedAtMs: nowMs, isConfirmed: false, host: 'one' })
  })

  it('hands on what is no failure but a bug, after a thaw', async () => {
    const broken = async () => {
      throw new TypeError('a bug')
    }
    const { act, calls } = await inSituation({ wish: wanting('prefer'), guest: { freeze: broken } })
    await expect(act()).rejects.toBeInstanceOf(TypeError)
    expect(calls).toContain(`guest.thaw ${instance}`)
  })
})

describe('quiesce, of an instance that does not run', () => {
  it.each(['stopped', 'paused', 'suspended', 'shelved', 'shelved_offloaded', 'soft-delete'])(
    'needs no freeze when it is %s, even when one was required',
    async (vmState) => {
      const { act, calls } = await inSituation({ wish: wanting('require'), server: { vmState } })
      expect(await act()).toMatchObject(snapshotWith('require', { is: 'offline', why: `the instance is ${vmState}` }))
      expect(calls.filter((call) => /guest|leases/.test(call))).toEqual([])
    },
  )
})

describe('quiesce, of an instance that only seems not to run', () => {
  it.each([
    ['in ERROR, which says nothing of its power', { vmState: 'error' }],
    ['stopped, and being started', { vmState: 'stopped', taskState: 'powering-on' }],
    ['suspended, and being resumed', { vmState: 'suspended', taskState: 'resuming' }],
  ])('freezes it when that was required: %s', async (_how, given) => {
    const { act } = await inSituation({ wish: wanting('require'), server: given })
    expect(await act()).toMatchObject(snapshotWith('require', { is: 'frozen' }))
  })

  it('takes one that Nova is copying for what it is', async () => {
    const given = { vmState: 'stopped', taskState: 'image_uploading' }
    const { act } = await inSituation({ wish: wanting('require'), server: given })
    expect(await act()).toMatchObject(snapshotWith('require', { is: 'offline' }))
  })
})

describe('quiesce, with a channel and nobody behind it', () => {
  const silent = { reach: hanging, freeze: hanging, thaw: hanging }

  it('asks for no freeze, goes on when one was only preferred, and leaves the instance free for the next', async () => {
    const { act, calls, lease } = await inSituation({ wish: wanting('prefer'), guest: silent })
    expect(await act()).toMatchObject(
      snapshotWith('prefer', { is: 'none', why: 'the guest could not be frozen: no answer in 5 s.' }),
    )
    expect(calls.filter((call) => /guest.freeze|queue/.test(call))).toEqual([])
    expect(lease()).toMatchObject({ holder: null, freeze: null })
  })

  it('tries again when it was required, with nothing noted', async () => {
    const { act, lease } = await inSituation({ wish: wanting('require'), guest: silent })
    await expect(act()).rejects.toMatchObject({ code: 'GUEST_UNREACHABLE', kind: 'retry' })
    expect(lease()).toMatchObject({ holder: null, freeze: null })
  })
})

describe('quiesce, with a freeze already there', () => {
  it('waits while another run holds the instance', async () => {
    const { act, calls } = await inSituation({ wish: wanting('prefer'), leases: [frozenBy('another run')] })
    expect(await act()).toEqual({ is: 'waiting', inMs: 1_000 })
    expect(calls.filter((call) => call.startsWith('guest'))).toEqual([])
  })

  it.each([
    ['its own, of a delivery that died', frozenBy(tagWish.run)],
    ["another run's, long past its time", frozenBy('another run', { untilMs: nowMs - 1 })],
    [
      "another run's, never confirmed",
      frozenBy('another run', {
        untilMs: nowMs - 1,
        freeze: { askedAtMs: nowMs - 60_000, isConfirmed: false, host: 'one' },
      }),
    ],
  ])('thaws and begins anew: %s', async (_whose, left) => {
    const { act, calls, lease } = await inSituation({ wish: wanting('require'), leases: [left] })
    expect(await act()).toEqual({ is: 'waiting', inMs: 1_000 })
    expect(calls).toContain(`guest.thaw ${instance}`)
    expect(calls).not.toContain(`guest.freeze ${instance} ${String(nowMs + 5_000)}`)
    expect(lease()).toMatchObject({ holder: null, freeze: null })
    expect(await act()).toMatchObject(
      snapshotWith('require', { is: 'frozen', epoch: 8 + Number(left.holder !== tagWish.run) }),
    )
  })

  it('keeps it noted while the guest is saved to disk, and asks again', async () => {
    const { act, lease } = await inSituation({
      wish: wanting('prefer'),
      leases: [frozenBy(tagWish.run)],
      server: { taskState: 'suspending' },
      guest: { thaw: async () => 'unheard' },
    })
    expect(await act()).toEqual({ is: 'waiting', inMs: 1_000 })
    expect(lease()?.freeze).not.toBeNull()
  })

  it('keeps it noted when the thaw of it fails', async () => {
    const { act, lease } = await inSituation({
      wish: wanting('prefer'),
      leases: [frozenBy(tagWish.run)],
      guest: { thaw: hanging },
    })
    await expect(act()).rejects.toMatchObject({ code: 'GUEST_UNREACHABLE' })
    expect(lease()?.freeze).not.toBeNull()
  })
})

describe('the policy, when the wish leaves it open', () => {
  const frozen = { is: 'frozen', epoch: 1, askedAtMs: nowMs }
  it.each<[Record<string, string>, string, unknown]>([
    [{ os_require_quiesce: 'yes' }, 'require', frozen],
    [{ os_require_quiesce: 'True', hw_qemu_guest_agent: 'no' }, 'require', frozen],
    [{ os_require_quiesce: 'no', hw_qemu_guest_agent: 'yes' }, 'prefer', frozen],
    [{ hw_qemu_guest_agent: '1' }, 'prefer', frozen],
    [{}, 'none', { is: 'none', why: 'no freeze was asked for' }],
  ])("is, by the image's %j, %s", async (properties, policy, freeze) => {
    const { act } = await inSituation({ properties })
    expect(await act()).toMatchObject(snapshotWith(policy, freeze))
  })

  it('is read from the base image for a tag, and from the image that Nova made in a take-over', async () => {
    const byTag = await inSituation({})
    await byTag.act()
    expect(byTag.calls).toContain(`glance.find ${base}`)
    const byTakeOver = await inSituation({ wish: takeOverWish })
    await byTakeOver.act()
    expect(byTakeOver.calls).toContain(`glance.find ${takeOverWish.image}`)
  })

  it('is to prefer a freeze when the base image, which would say it, is gone', async () => {
    const { act, ports } = await inSituation({})
    ports.images = portsOf({ images: { find: gone } }).ports.images
    expect(await act()).toMatchObject(snapshotWith('prefer', frozen))
  })
})

describe('the disk', () => {
  const present = (size: number) => ({ find: async (_at: RbdImage) => state({ sizeBytes: size }) })
  const missing = { find: gone }
  const at = (home: object, others: Record<string, object>) =>
    portsOf({ compute: { find: async () => server({ vmState: 'stopped' }) }, images: { find: gone }, home, others })
  const act = (given: ReturnType<typeof at>) =>
    quiesce(due<'quiesce'>({ step: 'quiesce', wish: tagWish }), given.ports, context())

  it("is looked for in the cluster of Glance's pool first", async () => {
    const given = at(present(gib), { east: present(2 * gib) })
    const { home, east } = given.ports.clusters
    if (home && east) given.ports.clusters = { east, home }
    expect(await act(given)).toMatchObject({ next: { disk: { cluster: 'home', sizeBytes: gib } } })
  })

  it('may be in another cluster', async () => {
    const given = at(missing, { east: missing, west: present(2 * gib) })
    expect(await act(given)).toMatchObject({
      next: { disk: { cluster: 'west', image: `${instance}_disk`, sizeBytes: 2 * gib } },
    })
  })

  it('that is in none is a reason to reject, which names them all', async () => {
    await expect(act(at(missing, { east: missing }))).rejects.toMatchObject({
      code: 'NO_RBD_DISK',
      words: `vms/${instance}_disk is in none of the clusters home, east.`,
    })
  })

  it('of an instance that Nova does not know is not looked for', async () => {
    const { act: tryIt, calls } = await inSituation({ server: null })
    await expect(tryIt()).rejects.toMatchObject({ code: 'INSTANCE_GONE' })
    expect(calls).toEqual([`nova.find ${instance}`])
  })
})
