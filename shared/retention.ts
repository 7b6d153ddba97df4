import { glanceSnapName, glanceVolume, properties } from './names.ts'
import { keepOf, policyTag } from './policy-tags.ts'
import type { Server } from './ports/compute.ts'
import type { Image, Removal } from './ports/images.ts'
import type { RunRecord } from './ports/journal.ts'
import type { Outdated, Wish } from './run.ts'
import { homeOf, type Context, type Ports } from './step.ts'

/**
 * What a policy no longer keeps. An image is removed only when all that know of it agree, because it is a tenant's, and nothing
 * brings it back: the journal has a run of this policy, server and project that made exactly this image and is over; Glance shows
 * that run's mark on it, active, private and unprotected in the same project; Ceph shows nothing that hangs on it; and the server
 * says, now, that so many newer ones are enough. What is not known is kept (docs/adr/0010-retention-asks-everyone.md).
 */

/** Of one run: it ends within its function's time, and the next one goes on. */
const mostAtOnce = 10

/** The oldest first; `kept` says why others, or all, are kept. */
interface Sorted {
  outdated: Outdated[]
  kept: string[]
}

export async function findOutdated(wish: Wish, server: Server | null, ports: Ports, ctx: Context): Promise<Sorted> {
  if (wish.trigger.is !== 'policy') return { outdated: [], kept: [] }
  const all = (why: string): Sorted => ({ outdated: [], kept: [`all images of the policy are kept: ${why}`] })
  const tag = policyTag(wish.trigger.action)
  if (!server || server.project !== wish.project) return all('the instance is gone')
  if (server.taskState === 'deleting') return all('the instance is being deleted')
  if (!server.tags.includes(tag)) return all(`the server bears the tag ${tag} no longer`)
  const keep = keepOf(server.tags)
  if ('all' in keep) return all(keep.all)
  const made = await imagesOfPolicy(wish, ports, ctx)
  if (!made.some(({ image }) => image.id === wish.image)) return all('the newest is not among them')
  // A later event's run may have ended before this one: what this run has just made is then too many, and kept all the same.
  const beyond = made.slice(keep.newest).filter(({ image }) => image.id !== wish.image)
  return sortOut(beyond.reverse(), ports, ctx)
}

interface Made {
  image: Image
  wish: Wish
  atMs: number
}

/** Active images of this policy of this server, the newest event first: found in Glance, believed from the journal. */
async function imagesOfPolicy(wish: Wish, ports: Pick<Ports, 'images' | 'journal'>, ctx: Context): Promise<Made[]> {
  const made: Made[] = []
  for (const image of await ports.images.ofInstance(wish.instance, ctx.signal)) {
    const run = image.properties[properties.run]
    if (run === undefined || image.status !== 'active' || image.owner !== wish.project) continue
    const record = await ports.journal.find(wish.instance, run)
    if (record && isOfPolicy(record, image, wish)) made.push({ image, wish: record.wish, atMs: eventMs(record.wish) })
  }
  return made.sort((a, b) => b.atMs - a.atMs)
}

/** Made by a run of the same policy that is over, or by this one: what is not over may have its flatten before it still. */
function isOfPolicy({ wish: its, outcome }: RunRecord, image: Image, wish: Wish): boolean {
  if (its.trigger.is !== 'policy' || wish.trigger.is !== 'policy') return false
  const isOver = outcome === 'active' || outcome === 'fallback' || its.run === wish.run
  const isSame = its.trigger.action === wish.trigger.action && its.project === wish.project
  return isOver && isSame && its.image === image.id
}

/** No event is later than when it was heard of: a host's clock may be ahead, and what it dates would outlive all that comes after. */
function eventMs({ trigger, requestedAtMs }: Wish): number {
  return trigger.is === 'policy' ? Math.min(trigger.atMs, requestedAtMs) : requestedAtMs
}

async function sortOut(beyond: Made[], ports: Ports, ctx: Context): Promise<Sorted> {
  const sorted: Sorted = { outdated: [], kept: [] }
  for (const { image, wish } of beyond) {
    if (sorted.outdated.length === mostAtOnce) break
    const why = whatKeeps(image, { run: wish.run, owner: wish.project }) ?? (await whatHangsOnIt(wish, ports, ctx))
    if (why === null) sorted.outdated.push({ image: image.id, run: wish.run })
    else if (sorted.kept.length < mostAtOnce) sorted.kept.push(keptWords(image.id, why))
  }
  return sorted
}

/** What Glance says of an image that speaks against deleting it; null: nothing. */
export function whatKeeps(image: Image, { run, owner }: { run: string; owner: string }): string | null {
  if (image.properties[properties.run] !== run) return `it does not bear the mark of run ${run}`
  if (image.owner !== owner) return `it belongs to project ${image.owner}`
  if (image.status !== 'active') return `it is ${image.status}`
  if (image.isProtected || image.properties[properties.ownerProtected] === 'true') return 'it is protected'
  // Its owner may have added the data of another image (OSSN-0065); Glance deletes whatever an image's locations name.
  if (image.locations.length > 1) return 'it has more than one location'
  return image.isPrivate ? null : 'its owner shares it with others'
}

/**
 * Glance would refuse most of these with 409, but only after it has taken `snap` off: it notices another snapshot, or a user, when
 * it comes to the data (glance_store 4.1, _drivers/rbd.py _delete_image), and what it leaves is active and cannot be booted from.
 */
async function whatHangsOnIt(wish: Wish, ports: Ports, ctx: Context): Promise<string | null> {
  const state = await homeOf(ports).find(glanceVolume(wish, ctx.settings.glancePool), ctx.signal)
  if (!state) return 'Ceph does not show its data'
  if (state.parent) return 'it hangs on a snapshot still'
  if (state.snaps.some(({ children }) => children.length > 0)) return 'it is in use: there are clones of it'
  return state.snaps.every(({ name }) => name === glanceSnapName) ? null : 'somebody has a snapshot on its data'
}

/** Removes what was noted, if it is still outdated. Called again it does nothing more, and says the same. */
export async function removeOutdated(noted: Outdated[], wish: Wish, ports: Ports, ctx: Context): Promise<string[]> {
  const server = await ports.compute.find(wish.instance, ctx.signal)
  const { outdated, kept } = await findOutdated(wish, server, ports, ctx)
  const said: string[] = []
  for (const { image, run } of noted) {
    if (kept.some((words) => words.includes(image))) continue
    const isOutdated = outdated.some((still) => still.image === image)
    const removal = isOutdated
      ? await ports.images.ensureAbsent(image, { run, owner: wish.project }, ctx.signal)
      : await whatBecameOf(image, ports, ctx)
    said.push(removal.is === 'absent' ? `removed image ${image} of the policy` : keptWords(image, removal.why))
  }
  return [...said, ...kept]
}

const keptWords = (image: string, why: string) => `image ${image} of the policy is kept: ${why}`

/** By an earlier delivery, or by its owner; or it is not to be removed any more. */
async function whatBecameOf(image: string, ports: Pick<Ports, 'images'>, ctx: Context): Promise<Removal> {
  const there = await ports.images.find(image, ctx.signal)
  return there ? { is: 'kept', why: 'it is not outdated any more' } : { is: 'absent' }
}
