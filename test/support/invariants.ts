import { visibilityMs } from '../../shared/drive.ts'
import { properties } from '../../shared/names.ts'
import type { RunRecord } from '../../shared/ports/journal.ts'
import { keepOf } from '../../shared/policy-tags.ts'
import { requestTag, tagWishes } from '../../shared/rules.ts'
import { plantedToken } from '../fakes/bus.ts'
import type { FakeRecord, GlanceEvent } from '../fakes/glance.ts'
import type { FreezeInterval } from '../fakes/guest.ts'
import type { World } from '../fakes/world.ts'

/** What must never happen, looked for in the world itself: in the guests, in Ceph, in Glance, in the journal, on the queues. */
export type Violation = `I${number}: ${string}`

export interface Leeway {
  /** what may delay a thaw besides its budget: one redelivery, unless the test loses messages */
  thawMs: number
  /** With two faults a run may go on without its freeze while the thaw of that is still to come. */
  mayGoOn?: boolean
}
export const oneQueuePeriod: Leeway = { thawMs: visibilityMs('thaw') + 2_000 }

/** True at every moment. */
export function violationsAlways(world: World, leeway: Leeway = oneQueuePeriod): Violation[] {
  return [
    ...frozenTooLong(world, leeway),
    ...freezesOutOfOrder(world, leeway),
    ...verdictsTooGood(world),
    ...trespasses(world),
    ...removals(world),
    ...brokenChains(world),
    ...halfRegistered(world),
    ...tooManyImages(world),
    ...secretsKept(world),
    ...strangersServed(world),
    ...echoes(world),
  ]
}

/** True when nothing moves any more. */
export function violationsAtRest(world: World, leeway: Leeway = oneQueuePeriod): Violation[] {
  return [
    ...violationsAlways(world, leeway),
    ...world.guests.intervals.filter((i) => i.toMs === null).map((i) => say(1, `${i.instance} is frozen still`)),
    ...thirdStates(world),
    ...notEnded(world),
  ]
}

const say = (n: number, words: string): Violation => `I${n}: ${words}`
const outcomeOf = ({ wish, outcome, code }: RunRecord) => `run ${wish.run} (${outcome ?? 'open'} ${code ?? ''})`
const runOf = (world: World, run: string) => world.store.runs().find((r) => r.wish.run === run)
const eventsOf = (world: World) => world.clusters.flatMap(({ events }) => events)
const volumeOf = (world: World, image: string) => ({ pool: world.settings.glancePool, image })

function frozenTooLong({ guests, clock, settings }: World, leeway: Leeway): Violation[] {
  const mostMs = settings.freezeBudgetMs + leeway.thawMs
  return guests.intervals.flatMap((i) => {
    const now = clock.nowMs()
    const excusedMs = i.unreachable.reduce((sum, { fromMs, toMs }) => sum + (toMs ?? now) - fromMs, 0)
    const ms = (i.toMs ?? now) - i.fromMs - excusedMs
    return ms > mostMs ? [say(1, `${i.instance} was frozen for ${ms} ms`)] : []
  })
}

function freezesOutOfOrder(world: World, { mayGoOn = false }: Leeway): Violation[] {
  const { guests } = world
  const unarmed = guests.intervals.filter((i) => !isArmed(i, world))
  const crowded = guests.intervals.flatMap((i) => intruders(i, world).map((op) => `${i.instance}: ${op} while frozen`))
  return [
    ...unarmed.map((i) => say(2, `${i.instance} was frozen with no thaw armed`)),
    ...guests.frozenTwice.map((i) => say(2, `${i} was frozen twice at a time`)),
    ...(mayGoOn ? [] : crowded.map((words) => say(2, words))),
  ]
}

/** Sent before the freeze, and still to come after it. */
function isArmed({ instance, fromMs }: FreezeInterval, { queue }: World): boolean {
  return queue.sent.some(
    ({ atMs, goneAtMs, message }) =>
      message.step === 'thaw' &&
      message.instance === instance &&
      atMs <= fromMs &&
      (goneAtMs === null || goneAtMs >= fromMs),
  )
}

/** What the run that froze the guest did to Ceph meanwhile, besides its `snap create`. */
function intruders({ holder, fromMs, toMs, unreachable }: FreezeInterval, world: World): string[] {
  if (holder === null || unreachable.length > 0) return []
  const image = runOf(world, holder)?.wish.image
  const isInside = (atMs: number) => atMs > fromMs && atMs < (toMs ?? Infinity)
  return eventsOf(world).flatMap((e) => {
    const isItsOwn = e.snap === `rbdsnap-${holder}` || e.image === image || e.image.includes(holder)
    const isOther = e.by === 'rbdsnap' && isItsOwn && isInside(e.atMs) && e.op !== 'snap create'
    return isOther ? [e.op] : []
  })
}

function verdictsTooGood(world: World): Violation[] {
  return [...world.glance.images.values()].flatMap((image) => {
    const run = image.properties[properties.run]
    const verdict = image.properties[properties.consistency]
    if (run === undefined || verdict === undefined) return []
    const proof = proofOf(world, run, madeAtMs(world, image.id))
    const isRequired = image.properties['os_require_quiesce'] === 'yes'
    const isTooGood =
      (verdict === 'filesystem' && !proof?.isFrozen) || (verdict === 'offline' && (!proof || proof.isRunning))
    return [
      ...(isTooGood ? [say(3, `image ${image.id} says ${verdict}`)] : []),
      ...(isRequired && verdict === 'crash' ? [say(3, `image ${image.id} requires quiescing and has none`)] : []),
    ]
  })
}

/** Of the snapshot that an image was made from, not of one that came after it. */
function proofOf({ evidence }: World, run: string, beforeMs: number) {
  return evidence.findLast((e) => e.run === run && e.atMs <= beforeMs)
}

function madeAtMs({ glance }: World, image: string): number {
  return (
    glance.events.find((e) => e.image.id === image && (e.op === 'located' || e.op === 'uploaded'))?.atMs ?? Infinity
  )
}

function trespasses({ trespasses: found }: World): Violation[] {
  return found.map((e) => say(4, `${e.op} of ${e.pool}/${e.image}${e.snap === null ? '' : `@${e.snap}`}`))
}

/**
 * Of active images: a policy's own that is over, that nobody else needs, and of which enough newer ones are left. One in use is
 * not even to be asked for: a Glance from glance_store 4.6 on would take it.
 */
function removals(world: World): Violation[] {
  return world.glance.events.flatMap((event, at) => {
    if (isAskedInUse(event)) return [say(4, `image ${event.image.id}, in use, was to be removed`)]
    if (!isRemoval(event)) return []
    const { image } = event
    const run = world.store.runs().find((r) => r.wish.image === image.id)
    const isPolicys = run?.wish.trigger.is === 'policy' && (run.outcome === 'active' || run.outcome === 'fallback')
    const isOwners = image.isProtected || !image.isPrivate || world.guarded.has(image.id)
    const isBase = [...world.servers.values()].some(({ baseImage }) => baseImage === image.id)
    const tags = world.servers.get(image.properties['instance_uuid'] ?? '')?.tags
    const keep = tags ? keepOf(tags) : { all: 'the server is gone' }
    const isTooFew = 'all' in keep || leftOf(world, image, at) < keep.newest
    return [
      ...(isPolicys ? [] : [say(4, `image ${image.id}, of no policy, was removed`)]),
      ...(isOwners ? [say(4, `image ${image.id}, protected or shared, was removed`)] : []),
      ...(isBase ? [say(4, `image ${image.id}, from which a server was made, was removed`)] : []),
      ...(isTooFew ? [say(4, `image ${image.id} was removed, and too few are left`)] : []),
    ]
  })
}

const isAskedInUse = ({ by, op, image }: GlanceEvent) =>
  by === 'rbdsnap' && op === 'delete refused' && !image.isProtected
const isRemoval = ({ by, op, image }: GlanceEvent) => by === 'rbdsnap' && op === 'delete' && image.status === 'active'

/** How many of the same policy were active when the event of this number was over. */
function leftOf({ glance }: World, { properties: of }: FakeRecord, at: number): number {
  const isSame = ({ properties: p }: FakeRecord) =>
    p[properties.policy] === of[properties.policy] && p['instance_uuid'] === of['instance_uuid']
  const isActive = ({ id }: FakeRecord) => {
    const events = glance.events.flatMap((e, i) => (e.image.id === id ? [{ ...e, i }] : []))
    const isMadeLater = events.some((e) => (e.op === 'located' || e.op === 'uploaded') && e.i > at)
    return !isMadeLater && !events.some((e) => e.op === 'delete' && e.i <= at)
  }
  return [...glance.images.values(), ...glance.deleted.values()].filter((i) => isSame(i) && isActive(i)).length
}

function brokenChains(world: World): Violation[] {
  const orphans = [...world.ceph.images].flatMap(([name, { parent }]) =>
    parent && !(world.ceph.has(parent) && world.ceph.image(parent).snaps.has(parent.snap)) ? [name] : [],
  )
  const empty = [...world.glance.images.values()].filter((i) => {
    const volume = volumeOf(world, i.id)
    return i.status === 'active' && !(world.ceph.has(volume) && world.ceph.image(volume).snaps.has('snap'))
  })
  const touched = eventsOf(world).filter(
    (e) =>
      e.by === 'rbdsnap' && e.pool === world.settings.novaPool && e.snap === null && !world.nova.leaked.has(e.image),
  )
  return [
    ...orphans.map((name) => say(5, `${name} lost its parent`)),
    ...empty.map(({ id }) => say(5, `image ${id} is active with no volume`)),
    ...touched.map((e) => say(5, `${e.op} of the disk ${e.image}`)),
  ]
}

function halfRegistered(world: World): Violation[] {
  return world.glance.events.flatMap(({ atMs, by, op, image, volume }) => {
    if (by !== 'rbdsnap' || (op !== 'located' && op !== 'uploaded')) return []
    const run = image.properties[properties.run] ?? ''
    const proof = proofOf(world, run, atMs)
    const wish = runOf(world, run)?.wish
    const isWhole = volume?.hasSnap === true && volume.content !== null && volume.content === proof?.content
    const isOwners = wish !== undefined && image.owner === world.projects.get(wish.instance)
    return [
      ...(isWhole ? [] : [say(7, `image ${image.id} was registered with ${String(volume?.content)}`)]),
      ...(isOwners ? [] : [say(7, `image ${image.id} belongs to ${image.owner}`)]),
    ]
  })
}

/** Nova's and ours together: as many that were ever active as were asked for. */
function tooManyImages({ glance, wishes }: World): Violation[] {
  const made = glance.events.filter((e) => e.op === 'located' || e.op === 'uploaded')
  const byInstance = Map.groupBy(made, (e) => e.image.properties['instance_uuid'] ?? '')
  return [...byInstance].flatMap(([instance, events]) => {
    const images = new Set(events.map((e) => e.image.id)).size
    const asked = wishes.filter((w) => w.instance === instance).length
    return images > asked ? [say(8, `${instance} has ${images} images for ${asked} wishes`)] : []
  })
}

function secretsKept({ store, queue, glance }: World): Violation[] {
  const kept = { runs: store.runs(), parked: store.parked(), sent: queue.sent, images: [...glance.images.values()] }
  return Object.entries(kept).flatMap(([where, all]) =>
    JSON.stringify(all).includes(plantedToken) ? [say(10, `a token in ${where}`)] : [],
  )
}

function strangersServed({ store, projects }: World): Violation[] {
  return store
    .runs()
    .filter((r) => r.outcome !== 'rejected' && projects.get(r.wish.instance) !== r.wish.project)
    .map((r) => say(11, `${outcomeOf(r)} is of the foreign project ${r.wish.project}`))
}

function echoes({ store, wishes }: World): Violation[] {
  const byInstance = Map.groupBy(store.runs(), (r) => r.wish.instance)
  return [...byInstance].flatMap(([instance, runs]) => {
    const begun = runs.filter((r) => r.outcome !== 'rejected').length
    const asked = wishes.filter((w) => w.instance === instance).length
    return begun > asked ? [say(12, `${instance} has ${begun} runs for ${asked} wishes`)] : []
  })
}

function thirdStates(world: World): Violation[] {
  const parked = world.store.runs().filter((r) => r.outcome === 'parked')
  const isParked = (name: string) => parked.some(({ wish }) => name.includes(wish.run) || name.includes(wish.image))
  const { clusters, glance, servers, settings } = world
  const left: string[] = []
  for (const [name, { snaps, parent, madeBy }] of clusters.flatMap(({ images }) => [...images])) {
    const id = name.replace(/^[^/]+\//, '')
    const image = glance.images.get(id)
    const ours = [...snaps.keys()].filter((s) => s.startsWith('rbdsnap-') && !isParked(s)).map((s) => `${name}@${s}`)
    left.push(...ours)
    if (!name.startsWith(`${settings.glancePool}/`) || isParked(name)) continue
    if (madeBy === 'rbdsnap' && !image) left.push(name)
    if (madeBy === 'rbdsnap' && image && parent) left.push(`${name}, a clone still`)
  }
  for (const image of glance.images.values()) {
    const { id, status, isProtected } = image
    if (image.properties['instance_uuid'] === undefined || isParked(id)) continue
    const isOwners = image.properties[properties.ownerProtected] === 'true' || world.guarded.has(id)
    if (status !== 'active') left.push(`image ${id}, ${status}`)
    if (isProtected && !isOwners) left.push(`image ${id}, protected`)
  }
  for (const { id, tags } of servers.values()) {
    const runsOf = (tag: string) =>
      world.store.runs().filter(({ wish: w }) => w.instance === id && w.trigger.is === 'tag' && w.trigger.tag === tag)
    // Of a name that nobody heard nothing can be known; a parked run keeps its tag.
    const isOld = (tag: string) =>
      (tag === requestTag || runsOf(tag).length > 0) && runsOf(tag).every((r) => r.outcome !== 'parked')
    left.push(...tagWishes(tags).flatMap(({ tag }) => (isOld(tag) ? [`the tag ${tag} on ${id}`] : [])))
  }
  return left.map((what) => say(6, `left behind: ${what}`))
}

function notEnded(world: World): Violation[] {
  return world.store.runs().flatMap((r) => {
    if (r.outcome === null) return [say(9, `${outcomeOf(r)} never ended`)]
    if (r.outcome !== 'active' && r.outcome !== 'fallback')
      return r.code !== null && r.reason !== null ? [] : [say(9, `${outcomeOf(r)} ended with no reason`)]
    const image = world.glance.images.get(r.wish.image)
    const isRemoved = world.glance.events.some((e) => e.image.id === r.wish.image && isRemoval(e))
    const isThere = image?.status === 'active' || world.unwanted.has(r.wish.image) || isRemoved
    const hasVerdict = !image || image.properties[properties.consistency] !== undefined
    return [
      ...(isThere ? [] : [say(9, `${outcomeOf(r)} has no active image`)]),
      ...(hasVerdict ? [] : [say(9, `${outcomeOf(r)} left no verdict on its image`)]),
    ]
  })
}
