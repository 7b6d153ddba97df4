import { describe, expect, it } from 'vitest'
import { cleanup } from '../../functions/cleanup.ts'
import { Failure, type FailureCode } from '../../shared/failures.ts'
import { imageOf, locationUrl, policyRun, properties } from '../../shared/names.ts'
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

const fsid = '3f0d1c6e-5a7b-4c2d-9e8f-0a1b2c3d4e5f'
const urlOf = (id: string) => locationUrl(fsid, { pool: 'images', image: id })

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
    image: image({
      id: imageOf(run, 1),
      status: 'active',
      properties: marks,
      locations: [urlOf(imageOf(run, 1))],
      createdAtMs: atMs,
      updatedAtMs: atMs,
      ...more.image,
    }),
    state: state({ snaps: [{ name: 'snap', isProtected: true, children: [], isUsed: false }] }),
  }
}
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
  /** ids of images that a server of Nova's was made from */
  used?: string[]
  /** Nova shows the policy's server and answers no more. */
  isNovaGone?: boolean
  /** while Ceph is asked for the data of an image */
  looking?: (id: string) => Promise<void>
  /** Glance takes so long to list the instance's images. */
  listingMs?: number
  /** while Glance lists them, the second time: when one has been noted */
  listing?: (images: Map<string, Image>, newest: string) => void
  isListedTwice?: boolean
}

function inSituation(given: Situation) {
  const { older, server: found, newest = made(0, { run: { outcome: null } }) } = given
  const all = [newest, ...older]
  const images = new Map(all.map((m) => [m.image.id, m.image]))
  const removed: string[] = []
  const { ports, calls } = portsOf({
    compute: {
      find: async () => (found === undefined ? server({ vmState: 'stopped', tags: [on, keep1] }) : found),
      async usesImage(id) {
        if (given.isNovaGone) throw new Failure('NOVA_UNREACHABLE', '')
        return given.used?.includes(id) ?? false
      },
    },
    images: {
      find: async (id) => images.get(id) ?? null,
      setProperties: yes,
      // newest first, as Glance's clock has it, which is not what decides
      ofInstance: async () => {
        clock.ms += given.listingMs ?? 0
        const listed = [...images.values()].reverse()
        if (calls.filter((call) => call.startsWith('glance.ofInstance')).length > 1)
          given.listing?.(images, newest.image.id)
        return given.isListedTwice ? [...listed, ...listed] : listed
      },
      async remove(id, mustBeSoon) {
        mustBeSoon()
        const said = (await given.removal?.(id)) ?? { is: 'removed' }
        if (said.is === 'removed') removed.push(id)
        if (said.is === 'removed') images.delete(id)
        return said
      },
    },
    home: {
      ensureSnapshotAbsent: yes,
      fsid: async () => fsid,
      async find({ image: id }) {
        await given.looking?.(id)
        return all.find((m) => m.image.id === id)?.state ?? null
      },
    },
    journal: { find: async (_instance, run) => all.find((m) => m.record.wish.run === run)?.record ?? null },
  })
  const first = due<'cleanup'>({ step: 'cleanup', ...snapped, wish: newest.record.wish, road: 'clone', usableMs: 900 })
  const clock = { ms: nowMs, nowMs: () => clock.ms }
  const once = (run = first) => cleanup(run, ports, context({}, clock))
  /** As the driver does: each message leads to the next. */
  async function then(run: MessageOf<'cleanup'> = first) {
    const outcome = await once(run)
    if (outcome.is !== 'done') throw new Error(JSON.stringify(outcome))
    return due<'cleanup'>(outcome.next)
  }
  async function toTheEnd(run: MessageOf<'cleanup'> = first): Promise<Awaited<ReturnType<typeof once>>> {
    const outcome = await once(run)
    return outcome.is === 'done' ? toTheEnd(due<'cleanup'>(outcome.next)) : outcome
  }
  /** Everything but retention is done, and the first image that goes is noted. */
  const noted = async () => then(await then())
  return { once, then, noted, toTheEnd, calls, removed, images, newest, clock }
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

  it('notes the image that it is about to remove before it removes it, one at a time', async () => {
    const older = [made(1), made(2)]
    const { then, noted, removed } = inSituation({ older })
    const first = await noted()
    expect(first.older).toEqual({ done: [], next: { image: older[1]?.image.id, notedAtMs: nowMs } })
    expect(removed).toEqual([])
    const after = await then(first)
    expect(after.older).toEqual({ done: idsOf(made(2)), next: null })
    expect(removed).toEqual(idsOf(made(2)))
  })

  it('asks all again directly before it asks Glance', async () => {
    const { then, noted, calls } = inSituation({ older: [made(1)] })
    const run = await noted()
    calls.length = 0
    await then(run)
    const asked = calls.map((call) => call.split(' ')[0])
    const list = ['nova.find', 'glance.ofInstance', 'glance.find', 'nova.find']
    const all = [...list, 'ceph.find', 'nova.usesImage', 'glance.find', 'glance.remove']
    expect(asked.filter((call) => call !== 'journal.find' && call !== 'ceph.fsid')).toEqual(all)
  })

  it('claims no removal that it did not see: the function died after it, or the owner was quicker', async () => {
    const { then, noted, removed } = inSituation({ older: [made(1)] })
    const run = await noted()
    const [first, again] = [await then(run), await then(run)]
    expect(first.why).toEqual([`removed image ${made(1).image.id} of the policy`])
    expect(again).toEqual({ ...first, why: [`image ${made(1).image.id} of the policy is gone`] })
    expect(removed).toHaveLength(1)
    const quicker = inSituation({ older: [made(1)], removal: async () => ({ is: 'gone' }) })
    expect((await quicker.then(await quicker.noted())).why).toEqual(again.why)
  })

  it('comes last: nothing else of the run is asked for once it has begun', async () => {
    const { then, toTheEnd, calls } = inSituation({ older: [made(1)] })
    const run = await then()
    calls.length = 0
    await toTheEnd(run)
    const changing = calls.filter((call) => /ensure|set|remove/.test(call))
    expect(changing.map((call) => call.split(' ')[0])).toEqual(['glance.remove'])
  })

  it('counts an image once that Glance lists twice', async () => {
    const { toTheEnd, removed } = inSituation({
      older: [made(1), made(2)],
      server: server({ vmState: 'stopped', tags: [on, 'snapshot-keep:2'] }),
      isListedTwice: true,
    })
    await toTheEnd()
    expect(removed).toEqual(idsOf(made(2)))
  })

  it('removes at most ten in one run, and what is kept takes none of the places', async () => {
    const older = Array.from({ length: 30 }, (_, i) => made(i + 1, i > 14 ? { image: { isProtected: true } } : {}))
    const { toTheEnd, removed } = inSituation({ older })
    await toTheEnd()
    expect(removed).toEqual(idsOf(...older.slice(5, 15)).reverse())
  })
})

describe('an image that Glance takes long to delete', () => {
  const minutes = (n: number) => n * 60_000
  const waits = { is: 'waiting', inMs: 5_000 }
  const id = made(1).image.id

  it.each<[string, (deleting: Made) => Made]>([
    ['its snapshot is gone', (m) => ({ ...m, state: state() })],
    ['Ceph shows its data no more', (m) => ({ ...m, state: null })],
  ])('is waited for while %s, and is gone in the end', async (_how, leave) => {
    const deleting = made(1)
    const { once, then, noted, images, clock } = inSituation({
      older: [deleting],
      removal: () => Promise.reject(new Failure('TIMEOUT', 'image')),
    })
    const run = await noted()
    await expect(once(run)).rejects.toMatchObject({ code: 'TIMEOUT' })
    Object.assign(deleting, leave(deleting))
    clock.ms += minutes(20)
    expect(await once(run)).toEqual(waits)
    images.delete(id)
    expect((await then(run)).why).toEqual([`image ${id} of the policy is gone`])
  })

  it('is waited for while Glance says 409, for half an hour', async () => {
    const removal = async (): Promise<Removal> => ({ is: 'busy', why: 'Glance answered 409: in use' })
    const { once, then, noted, toTheEnd, clock } = inSituation({ older: [made(1)], removal })
    const run = await noted()
    expect(await once(run)).toEqual(waits)
    clock.ms += minutes(31)
    const after = await then(run)
    expect(after.why).toEqual([`image ${id} of the policy is kept: Glance answered 409: in use`])
    expect(await toTheEnd(after)).toMatchObject({ is: 'ended', outcome: 'active' })
  })

  it('and that is not being deleted at all is kept, after as long', async () => {
    const broken = { ...made(1), state: state() }
    const { toTheEnd } = inSituation({ older: [broken] })
    const reason = expect.stringMatching(/is kept: the snapshot on its data, .* is gone/) as string
    expect(await toTheEnd()).toMatchObject({ is: 'ended', reason })
  })
})

describe('retention that fails', () => {
  it('ends the run well after the fifth time, and says so', async () => {
    const looking = () => Promise.reject(new Failure('CEPH_UNREACHABLE', 'vms'))
    const { then, once, removed } = inSituation({ older: [made(1)], looking })
    const run = await then()
    await expect(once({ ...run, tries: 3 })).rejects.toMatchObject({ code: 'CEPH_UNREACHABLE' })
    const reason = expect.stringMatching(/^older images were not looked at: CEPH_UNREACHABLE/) as string
    expect(await once({ ...run, tries: 4 })).toEqual({ is: 'ended', outcome: 'active', failure: null, reason })
    expect(removed).toEqual([])
  })

  it('does not claim to know what became of the image that it had noted', async () => {
    const removal = () => Promise.reject(new Failure('TIMEOUT', 'image'))
    const { noted, once } = inSituation({ older: [made(1)], removal })
    const run = await noted()
    const reason = expect.stringMatching(
      `^it is not known whether image ${made(1).image.id} of the policy was removed: TIMEOUT`,
    ) as string
    expect(await once({ ...run, tries: 4 })).toMatchObject({ is: 'ended', outcome: 'active', reason })
  })

  it('to come within the day that the step has ends the run well', async () => {
    const { then, once, clock, removed } = inSituation({ older: [made(1)] })
    const run = await then()
    clock.ms += dayMs + 1_000
    const reason = expect.stringMatching(/too late/) as string
    expect(await once(run)).toMatchObject({ is: 'ended', outcome: 'active', reason })
    expect(removed).toEqual([])
  })

  it('ends it at once when trying again is no use', async () => {
    const { then, once, images } = inSituation({ older: [made(1)] })
    const run = await then()
    Object.defineProperty(images, 'values', {
      value: () => {
        throw new Failure('ANSWER_UNREADABLE', 'the list')
      },
    })
    const reason = expect.stringMatching(/^older images were not looked at: ANSWER_UNREADABLE/) as string
    expect(await once(run)).toMatchObject({ is: 'ended', outcome: 'active', reason })
  })

  it.each<FailureCode>(['CEPH_BUSY', 'CEPH_REFUSED'])(
    'at one image only (%s) keeps that, and removes the others',
    async (code) => {
      const bad = made(2)
      const looking = (id: string) =>
        id === bad.image.id ? Promise.reject(new Failure(code, 'images')) : Promise.resolve()
      const { toTheEnd, removed } = inSituation({ older: [made(1), bad], looking })
      const reason = expect.stringMatching(new RegExp(`${bad.image.id} of the policy is kept: ${code}`)) as string
      expect(await toTheEnd()).toMatchObject({ is: 'ended', outcome: 'active', reason })
      expect(removed).toEqual(idsOf(made(1)))
    },
  )

  it('to ask everybody within some seconds removes nothing', async () => {
    const situation = inSituation({ older: [made(1)], looking: async () => void (situation.clock.ms += 6_000) })
    const run = await situation.noted()
    await expect(situation.once(run)).rejects.toMatchObject({ code: 'TIMEOUT' })
    expect(situation.removed).toEqual([])
  })

  it('is no matter of how long Glance takes to list', async () => {
    const { toTheEnd, removed } = inSituation({ older: [made(1)], listingMs: 9_000 })
    await toTheEnd()
    expect(removed).toEqual(idsOf(made(1)))
  })

  it('because of a bug stops the run for a person', async () => {
    const { then, once } = inSituation({ older: [made(1)], looking: () => Promise.reject(new TypeError('x')) })
    await expect(once(await then())).rejects.toThrow(TypeError)
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
    const { removed, calls, toTheEnd } = inSituation({ older: [made(1)], server: found })
    // of a server that is being deleted the run waits for a while first
    const late = due<'cleanup'>(
      { step: 'cleanup', ...snapped, wish: made(0).record.wish, road: 'clone', usableMs: 900 },
      nowMs - 600_000,
    )
    expect(await toTheEnd(late)).toMatchObject({ is: 'ended', reason: expect.stringMatching(why) as string })
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

  it('when the number was raised, the policy taken off or the newest deleted while Glance listed', async () => {
    const older = made(1)
    const changes: ((found: Server, images: Map<string, Image>, newest: string) => void)[] = [
      (found) => void (found.tags = [on, 'snapshot-keep:2']),
      (found) => void (found.tags = [keep1]),
      (_found, images, newest) => void images.delete(newest),
    ]
    for (const change of changes) {
      const found = server({ tags: [on, keep1] })
      const listing = (images: Map<string, Image>, newest: string) => change(found, images, newest)
      const { noted, then, removed } = inSituation({ older: [older], server: found, listing })
      expect((await then(await noted())).why[0]).toMatch(/is there and not outdated any more/)
      expect(removed).toEqual([])
    }
  })

  it('when the number was raised after the removal was noted', async () => {
    const older = made(1)
    const found = server({ tags: [on, keep1] })
    const { noted, toTheEnd, removed } = inSituation({ older: [older], server: found })
    const run = await noted()
    found.tags = [on, 'snapshot-keep:2']
    expect(await toTheEnd(run)).toMatchObject({
      reason: `image ${older.image.id} of the policy is there and not outdated any more; a removal that was asked for before may be under way`,
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
    ['that is in two stores', made(2, { image: { stores: ['rbd', 'file'] } }), /more than one location/],
    ['that has the data of another', made(2, { image: { locations: [urlOf('another')] } }), /not where its run/],
    ['that has clones', hanging({ snaps: [clonesOf(made(2))] }), /clones of it/],
    ['that has a clone in the trash', hanging({ snaps: [{ ...snap, isUsed: true }] }), /clones of it/],
    ['of which Ceph does not say', hanging({ snaps: [{ ...snap, isUsed: null }] }), /does not say/],
    ['without the snapshot, but with his', hanging({ snaps: [{ ...snap, name: 'his' }] }), /snapshot on its data/],
    ['whose snapshot is gone', hanging({ snaps: [] }), /is gone/],
    ['with a snapshot of somebody', hanging({ snaps: [snap, { ...snap, name: 'his' }] }), /snapshot on its data/],
    ['below which clones hang on a removed snapshot', hanging({ hasUnlistedSnaps: true }), /one that was removed/],
    ['that is a clone still', hanging({ parent: { pool: 'vms', image: 'a', snap: 's' } }), /hangs on a snapshot/],
    ['whose data Ceph does not show', hanging(null), /does not show its data/],
  ])('%s, says so, and removes the others', async (_what, kept, why) => {
    const older = made(1)
    const { toTheEnd, removed } = inSituation({ older: [kept, older] })
    const end = await toTheEnd()
    expect(end).toMatchObject({ outcome: 'active', reason: expect.stringMatching(why) as string })
    expect(removed).toEqual(idsOf(older))
  })

  it('that a server was made from whose disk is no clone', async () => {
    const { toTheEnd, removed } = inSituation({ older: [made(1), made(2)], used: idsOf(made(2)) })
    expect(await toTheEnd()).toMatchObject({ reason: expect.stringMatching(/a server was made from it/) as string })
    expect(removed).toEqual(idsOf(made(1)))
  })

  it('that became protected, or shared, since it was noted', async () => {
    for (const change of [{ isProtected: true }, { isPrivate: false }]) {
      const { noted, then, images, removed } = inSituation({ older: [made(1)] })
      const run = await noted()
      images.set(made(1).image.id, { ...made(1).image, ...change })
      expect((await then(run)).why[0]).toMatch(/is kept: (it is protected|its owner shares it)/)
      expect(removed).toEqual([])
    }
  })

  it('that Glance refuses to delete, says so, tries it once, and the run ends well', async () => {
    const refused = async (): Promise<Removal> => ({ is: 'refused', why: 'Glance answered 403: protected' })
    const { toTheEnd, calls } = inSituation({ older: [made(1)], removal: refused })
    expect(await toTheEnd()).toMatchObject({
      is: 'ended',
      outcome: 'active',
      reason: expect.stringMatching(/is kept: Glance answered 403/) as string,
    })
    expect(calls.filter((call) => call.startsWith('glance.remove'))).toHaveLength(1)
  })

  it('while Nova cannot be asked whether a server was made from it: the step comes again', async () => {
    const { toTheEnd, removed } = inSituation({ older: [made(1)], isNovaGone: true })
    await expect(toTheEnd()).rejects.toMatchObject({ code: 'NOVA_UNREACHABLE' })
    expect(removed).toEqual([])
  })

  it('that is kept when it is asked again says that the first removal may be under way', async () => {
    const used: string[] = []
    const removal = () => Promise.reject(new Failure('TIMEOUT', 'image'))
    const { noted, once, then } = inSituation({ older: [made(1)], used, removal })
    const run = await noted()
    await expect(once(run)).rejects.toMatchObject({ code: 'TIMEOUT' })
    used.push(made(1).image.id)
    expect((await then({ ...run, tries: 1 })).why[0]).toMatch(
      /is kept: it is in use: .*; a removal that was asked for before may be under way$/,
    )
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
