import { describe, expect, it } from 'vitest'
import { cleanup } from '../../functions/cleanup.ts'
import { Failure } from '../../shared/failures.ts'
import { imageOf, policyRun, properties } from '../../shared/names.ts'
import type { Server } from '../../shared/ports/compute.ts'
import type { Image, Removal } from '../../shared/ports/images.ts'
import type { RunRecord } from '../../shared/ports/journal.ts'
import type { RbdState } from '../../shared/ports/volumes.ts'
import type { MessageOf, Wish } from '../../shared/run.ts'
import { context, due, image, instance, nowMs, portsOf, server, snapped, state, tagWish, yes } from './given.ts'
import { record } from './given-record.ts'

const action = 'power_off'
const dayMs = 86_400_000
const [on, keep1] = [`snapshot-on:${action}`, 'snapshot-keep:1']

/** The image of an event so many days ago, its run, and its data. */
interface Made {
  record: RunRecord
  image: Image
  state: RbdState | null
}
function made(
  days: number,
  more: { wish?: Partial<Wish>; run?: Partial<RunRecord>; image?: Partial<Image> } = {},
): Made {
  const atMs = nowMs - days * dayMs
  const run = policyRun(instance, action, atMs)
  const wish: Wish = {
    ...tagWish,
    run,
    image: imageOf(run, 1),
    trigger: { is: 'policy', action, atMs },
    requestedAtMs: atMs,
    ...more.wish,
  }
  const marks = { instance_uuid: instance, [properties.run]: run, [properties.policy]: action }
  return {
    record: record({ wish, outcome: 'active', ...more.run }),
    image: image({ id: imageOf(run, 1), status: 'active', properties: marks, createdAtMs: atMs, ...more.image }),
    state: state({ snaps: [{ name: 'snap', isProtected: true, children: [], isUsed: false }] }),
  }
}
const ownerProtected = (days: number) => ({ ...made(days).image.properties, [properties.ownerProtected]: 'true' })
const clonesOf = ({ image: { id } }: Made) => ({
  name: 'snap',
  isProtected: true,
  children: [{ pool: 'vms', image: id }],
  isUsed: true,
})

interface Situation {
  older: Made[]
  server?: Server | null
  newest?: Made
  removal?: (id: string) => Promise<Removal>
}

function inSituation({ older, server: found, newest = made(0, { run: { outcome: null } }), removal }: Situation) {
  const all = [newest, ...older]
  const images = new Map(all.map((m) => [m.image.id, m.image]))
  const removed: string[] = []
  const { ports, calls } = portsOf({
    compute: {
      find: async () => (found === undefined ? server({ vmState: 'stopped', tags: [on, keep1] }) : found),
    },
    images: {
      find: async (id) => images.get(id) ?? null,
      setProperties: yes,
      // newest first, as Glance's clock has it, which is not what decides
      ofInstance: async () => [...images.values()].reverse(),
      async ensureAbsent(id) {
        const said = (await removal?.(id)) ?? { is: 'absent' }
        if (said.is === 'absent') removed.push(id)
        if (said.is === 'absent') images.delete(id)
        return said
      },
    },
    home: {
      ensureSnapshotAbsent: yes,
      find: async ({ image: id }) => all.find((m) => m.image.id === id)?.state ?? null,
    },
    journal: { find: async (_instance, run) => all.find((m) => m.record.wish.run === run)?.record ?? null },
  })
  const first = due<'cleanup'>({ step: 'cleanup', ...snapped, wish: newest.record.wish, road: 'clone', usableMs: 900 })
  /** As the driver does: each message leads to the next. */
  async function toTheEnd(run: MessageOf<'cleanup'> = first) {
    const outcome = await cleanup(run, ports, context())
    if (outcome.is !== 'done') return outcome
    return cleanup(due<'cleanup'>(outcome.next), ports, context())
  }
  return { once: (run = first) => cleanup(run, ports, context()), toTheEnd, calls, removed, images, newest }
}
const idsOf = (...some: Made[]) => some.map((m) => m.image.id)

describe('retention', () => {
  it('keeps the newest and removes the others, the oldest first, and says which', async () => {
    const older = [made(1), made(2), made(3)]
    const { toTheEnd, removed } = inSituation({ older })
    const ids = idsOf(...older).reverse()
    expect(await toTheEnd()).toMatchObject({
      is: 'ended',
      outcome: 'active',
      reason: ids.map((id) => `removed image ${id} of the policy`).join('; '),
    })
    expect(removed).toEqual(ids)
  })

  it('goes by the time of the event, and not by what order Glance has', async () => {
    const [one, two] = [made(1, { image: { createdAtMs: 0 } }), made(2, { image: { createdAtMs: nowMs } })]
    const { toTheEnd, removed } = inSituation({
      older: [one, two],
      server: server({ tags: [on, 'snapshot-keep:2'] }),
    })
    await toTheEnd()
    expect(removed).toEqual(idsOf(two))
  })

  it('counts an event from the future as one of the moment when it was heard of, and removes nothing newer', async () => {
    const atMs = nowMs + 3_600_000
    const ahead = made(2, { wish: { trigger: { is: 'policy', action, atMs }, requestedAtMs: nowMs - 2 * dayMs } })
    const { toTheEnd, removed } = inSituation({ older: [made(1), ahead] })
    await toTheEnd()
    expect(removed).toEqual(idsOf(ahead, made(1)))
  })

  it('never removes the image that its own run has made, in whichever order two runs of one policy end', async () => {
    const [earlier, later] = [made(0.01, { run: { outcome: null } }), made(0, { run: { outcome: null } })]
    const secondIsFirst = inSituation({ newest: later, older: [earlier] })
    await secondIsFirst.toTheEnd()
    expect(secondIsFirst.removed).toEqual([])
    const ended = { ...later, record: { ...later.record, outcome: 'active' as const } }
    const firstIsLast = inSituation({ newest: earlier, older: [ended] })
    await firstIsLast.toTheEnd()
    expect(firstIsLast.removed).toEqual([])
    const firstIsOver = { ...earlier, record: { ...earlier.record, outcome: 'active' as const } }
    const inOrder = inSituation({ newest: later, older: [firstIsOver] })
    await inOrder.toTheEnd()
    expect(inOrder.removed).toEqual(idsOf(earlier))
  })

  it('notes what it is about to remove before it removes any of it', async () => {
    const older = made(1)
    const { once, removed } = inSituation({ older: [older] })
    expect(await once()).toMatchObject({
      is: 'done',
      next: { step: 'cleanup', outdated: [{ image: older.image.id, run: older.record.wish.run }] },
    })
    expect(removed).toEqual([])
  })

  it('says the same when the function died after the removal and comes again', async () => {
    const { once, removed } = inSituation({ older: [made(1)] })
    const noted = await once()
    if (noted.is !== 'done') throw new Error(noted.is)
    const again = due<'cleanup'>(noted.next)
    const first = await once(again)
    expect(await once(again)).toEqual(first)
    expect(removed).toHaveLength(1)
  })

  it('comes last: nothing else of the run is asked for once it has begun', async () => {
    const { once, calls } = inSituation({ older: [made(1)] })
    const noted = await once()
    calls.length = 0
    if (noted.is === 'done') await once(due<'cleanup'>(noted.next))
    const changing = calls.filter((call) => /ensure|set|remove/.test(call))
    expect(changing.map((call) => call.split(' ')[0])).toEqual(['glance.ensureAbsent'])
  })

  it('removes at most ten in one run, and what is kept takes none of the places', async () => {
    const older = Array.from({ length: 30 }, (_, i) => made(i + 1, i > 14 ? { image: { isProtected: true } } : {}))
    const { toTheEnd, removed } = inSituation({ older })
    await toTheEnd()
    expect(removed).toEqual(idsOf(...older.slice(5, 15)).reverse())
  })
})

describe('retention keeps all', () => {
  const bears = (...tags: string[]) => server({ tags })
  it.each<[string, Server | null, RegExp]>([
    ['when nobody says how many', bears(on), /bears no tag snapshot-keep:N/],
    ['when the number cannot be read', bears(on, 'snapshot-keep:1e3'), /does not say a number/],
    ['when the policy was taken off', bears(keep1), /bears the tag snapshot-on:power_off no longer/],
    ['when the server is gone', null, /the instance is gone/],
    ['when it is being deleted', server({ tags: [on, keep1], taskState: 'deleting' }), /is being deleted/],
    ['when it is of another project now', server({ tags: [on, keep1], project: 'another' }), /is gone/],
  ])('%s, and says why', async (_when, found, why) => {
    const { removed, calls, once } = inSituation({ older: [made(1)], server: found })
    // of a server that is being deleted the run waits for a while first
    const late = due<'cleanup'>(
      { step: 'cleanup', ...snapped, wish: made(0).record.wish, road: 'clone', usableMs: 900 },
      nowMs - 600_000,
    )
    expect(await once(late)).toMatchObject({ is: 'ended', reason: expect.stringMatching(why) as string })
    expect(removed).toEqual([])
    expect(calls.filter((call) => call.startsWith('glance.ofInstance'))).toEqual([])
  })

  it('when the new image is not there', async () => {
    for (const lost of [{ status: 'deactivated' as const }, { properties: { instance_uuid: instance } }]) {
      const newest = made(0, { run: { outcome: null }, image: lost })
      const { toTheEnd, removed } = inSituation({ older: [made(1), made(2)], newest })
      expect(await toTheEnd()).toMatchObject({ reason: expect.stringMatching(/all images of the policy are kept/) })
      expect(removed).toEqual([])
    }
  })

  it('when the number was raised after the removal was noted', async () => {
    const older = made(1)
    const found = server({ tags: [on, keep1] })
    const { once, removed } = inSituation({ older: [older], server: found })
    const noted = await once()
    found.tags = [on, 'snapshot-keep:2']
    if (noted.is !== 'done') throw new Error(noted.is)
    expect(await once(due<'cleanup'>(noted.next))).toMatchObject({
      reason: `image ${older.image.id} of the policy is kept: it is not outdated any more`,
    })
    expect(removed).toEqual([])
  })
})

describe('retention removes no image', () => {
  const other = { id: imageOf('somebody', 1) }
  const tag: Wish['trigger'] = { is: 'tag', tag: 'snapshot', epoch: 1 }
  it.each<[string, (days: number) => Made]>([
    ['whose mark names no run of ours', (days) => ({ ...made(days), record: record({ wish: tagWish }) })],
    ['that bears the mark of a run that made another', (days) => made(days, { image: other })],
    ['of a run by tag', (days) => made(days, { wish: { trigger: tag } })],
    ['of a take-over', (days) => made(days, { wish: { trigger: { is: 'take-over' } } })],
    ['of another policy', (days) => made(days, { wish: { trigger: { is: 'policy', action: 'exists', atMs: 1 } } })],
    ['of another project', (days) => made(days, { image: { owner: 'another' } })],
    ['of a run of another project', (days) => made(days, { wish: { project: 'another' } })],
    ['whose run waits for its flatten', (days) => made(days, { run: { outcome: null } })],
    ['whose run is parked', (days) => made(days, { run: { outcome: 'parked' } })],
    ['whose run was rejected', (days) => made(days, { run: { outcome: 'rejected' } })],
    ['that Nova made', (days) => made(days, { run: { outcome: 'nova-did-it' } })],
    ['that is not active', (days) => made(days, { image: { status: 'deactivated' } })],
    ['without a mark', (days) => made(days, { image: { properties: { instance_uuid: instance } } })],
  ])('%s, however old, and does not count it either', async (_what, foreign) => {
    const older = made(1)
    const two = server({ tags: [on, 'snapshot-keep:2'] })
    for (const days of [0.5, 2]) {
      const { toTheEnd, removed } = inSituation({ older: [older, foreign(days)], server: two })
      expect(await toTheEnd()).toMatchObject({ is: 'ended', reason: null })
      expect(removed).toEqual([])
    }
  })

  const hanging = (more: Partial<RbdState> | null) => {
    const one = made(2)
    return { ...one, state: more && { ...one.state!, ...more } }
  }
  const snap = { name: 'snap', isProtected: true, children: [], isUsed: false }
  it.each<[string, Made, RegExp]>([
    ['that is protected', made(2, { image: { isProtected: true } }), /it is protected/],
    ['that its owner shares', made(2, { image: { isPrivate: false } }), /shares it/],
    ['to which data of another was added', made(2, { image: { locations: ['a', 'b'] } }), /more than one location/],
    ['that its owner had protected', made(2, { image: { properties: ownerProtected(2) } }), /it is protected/],
    ['that has clones', hanging({ snaps: [clonesOf(made(2))] }), /clones of it/],
    ['with a snapshot of somebody', hanging({ snaps: [snap, { ...snap, name: 'his' }] }), /snapshot on its data/],
    ['that is a clone still', hanging({ parent: { pool: 'vms', image: 'a', snap: 's' } }), /hangs on a snapshot/],
    ['whose data Ceph does not show', hanging(null), /does not show its data/],
  ])('%s, says so, and removes the others', async (_what, kept, why) => {
    const older = made(1)
    const { toTheEnd, removed } = inSituation({ older: [kept, older] })
    const end = await toTheEnd()
    expect(end).toMatchObject({ outcome: 'active', reason: expect.stringMatching(why) as string })
    expect(removed).toEqual(idsOf(older))
  })

  it('that Glance refuses to delete, says so, and the run ends well', async () => {
    const refused = async (): Promise<Removal> => ({ is: 'kept', why: 'Glance answered 409: in use' })
    const { toTheEnd } = inSituation({ older: [made(1)], removal: refused })
    expect(await toTheEnd()).toMatchObject({
      is: 'ended',
      outcome: 'active',
      reason: expect.stringMatching(/is kept: Glance answered 409/) as string,
    })
  })

  it('while Ceph or the journal cannot be asked: the step comes again', async () => {
    const { toTheEnd } = inSituation({
      older: [made(1)],
      removal: () => Promise.reject(new Failure('GLANCE_UNREACHABLE', '')),
    })
    await expect(toTheEnd()).rejects.toMatchObject({ code: 'GLANCE_UNREACHABLE' })
  })
})

it('a run by tag looks for no older images', async () => {
  const { calls, once } = inSituation({
    older: [],
    newest: { ...made(0), record: record({ wish: tagWish }) },
    server: null,
  })
  expect(await once()).toMatchObject({ is: 'ended' })
  expect(calls.filter((call) => call.includes('ofInstance'))).toEqual([])
})
