import { properties } from './names.ts'
import { keepOf, policyTag } from './policy-tags.ts'
import type { Image } from './ports/images.ts'
import type { RunRecord } from './ports/journal.ts'
import type { Wish } from './run.ts'
import type { Context, Ports } from './step.ts'

/** An image and the wish that it was made for: found in Glance, believed from the journal. */
export interface Made {
  image: Image
  wish: Wish
}

interface Kept {
  kept: string
}
const all = (why: string): Kept => ({ kept: `all images of the policy are kept: ${why}` })

/** The images of a policy that are more than its server says are enough, the oldest first; or why all are kept. */
export async function outdated(wish: Wish, ports: Ports, ctx: Context): Promise<{ images: Made[] } | Kept> {
  const enough = await enoughFor(wish, ports, ctx)
  if ('kept' in enough) return enough
  const made = await imagesOfPolicy(wish, ports, ctx)
  const isOwn = ({ image }: Made) => image.id === wish.image
  if (!made.some(isOwn)) return all('the newest is not among them')
  // A later event's run may have ended before this one: what this run has just made is then too many, and kept all the same.
  const images = made.slice(enough.newest).filter((one) => !isOwn(one))
  // Glance may take long to list: its owner may have deleted the newest meanwhile, or said otherwise.
  const own = await ports.images.find(wish.image, ctx.signal)
  if (own?.status !== 'active') return all('the newest is gone since they were listed')
  const now = await enoughFor(wish, ports, ctx)
  if ('kept' in now) return now
  return now.newest > enough.newest ? all('more are to be kept since they were listed') : { images: images.reverse() }
}

/** What the server says now. */
async function enoughFor({ trigger, instance, project }: Wish, { compute }: Ports, { signal }: Context) {
  if (trigger.is !== 'policy') return all("the run is no policy's")
  const tag = policyTag(trigger.action)
  const server = await compute.find(instance, signal)
  if (!server || server.project !== project) return all('the instance is gone')
  if (server.taskState === 'deleting') return all('the instance is being deleted')
  if (!server.tags.includes(tag)) return all(`the server bears the tag ${tag} no longer`)
  const keep = keepOf(server.tags)
  return 'all' in keep ? all(keep.all) : keep
}

/** Active images of this policy of this server, the newest event first. */
async function imagesOfPolicy(wish: Wish, ports: Pick<Ports, 'images' | 'journal'>, ctx: Context): Promise<Made[]> {
  const made: Made[] = []
  const seen = new Set<string>()
  for (const image of await ports.images.ofInstance(wish.instance, wish.project, ctx.signal)) {
    // One that is listed twice must not count as two.
    if (seen.has(image.id)) continue
    seen.add(image.id)
    const run = image.properties[properties.run]
    if (run === undefined || image.status !== 'active') continue
    const record = await ports.journal.find(wish.instance, run)
    if (record && isOfPolicy(record, image, wish)) made.push({ image, wish: record.wish })
  }
  return made.sort((a, b) => eventMs(b.wish) - eventMs(a.wish))
}

/** Made by a run of the same policy that is over, or by this one: what is not over may have its flatten before it still. */
function isOfPolicy({ wish: its, outcome }: RunRecord, image: Image, wish: Wish): boolean {
  if (its.trigger.is !== 'policy' || wish.trigger.is !== 'policy') return false
  const isOver = outcome === 'active' || outcome === 'fallback' || its.run === wish.run
  const isSame = its.trigger.action === wish.trigger.action && its.project === wish.project
  return isOver && isSame && its.image === image.id && image.owner === its.project
}

/** No event is later than when it was heard of: a host's clock may be ahead, and what it dates would outlive all that comes after. */
function eventMs({ trigger, requestedAtMs }: Wish): number {
  return trigger.is === 'policy' ? Math.min(trigger.atMs, requestedAtMs) : requestedAtMs
}
