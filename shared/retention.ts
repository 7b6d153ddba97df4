import { Failure } from './failures.ts'
import { hurry } from './hurry.ts'
import { outdated, type Made } from './outdated.ts'
import { pipeline } from './pipeline.ts'
import type { MessageOf, Older } from './run.ts'
import { whatKeeps, whatNeeds } from './still-needed.ts'
import { endedWell, type Context, type Outcome, type Ports } from './step.ts'

/**
 * What a policy no longer keeps. An image is removed only when all that know of it agree, because it is a tenant's, and nothing
 * brings it back; what is not known is kept (docs/adr/0010-retention-asks-everyone.md).
 *
 * One message looks for the oldest image that is too many and notes it, the next one asks everything again and removes it. The run has
 * ended well before the first of them: whatever goes wrong here costs it nothing but a reason.
 */
type Run = MessageOf<'cleanup'>

/** Of one run; the next one goes on. */
const mostAtOnce = 10
const mostTries = 5
/** Longer than Glance takes to delete an image of terabytes, object by object. */
const patienceMs = 1_800_000

export async function retain(run: Run, older: Older, ports: Ports, ctx: Context): Promise<Outcome<'cleanup'>> {
  // Its leash is cleanup's own: what comes after a day of standstill would be parked.
  if (ctx.clock.nowMs() - run.sinceMs > pipeline.cleanup.leashMs)
    return end(run, unknown(older, 'it is too late for that'))
  try {
    return older.next ? await removeNext(run, older, older.next, ports, ctx) : await lookForNext(run, older, ports, ctx)
  } catch (error) {
    if (!(error instanceof Failure) || (error.kind === 'retry' && run.tries + 1 < mostTries)) throw error
    return end(run, unknown(older, error.message))
  }
}

/** Glance goes on with what an earlier delivery may have asked of it. */
const unknown = ({ next }: Older, why: string): string =>
  next
    ? `it is not known whether image ${next.image} of the policy was removed: ${why}`
    : `older images were not looked at: ${why}`

async function lookForNext(run: Run, older: Older, ports: Ports, ctx: Context): Promise<Outcome<'cleanup'>> {
  if (older.done.length >= mostAtOnce) return end(run)
  const found = await outdated(run.wish, ports, ctx)
  if ('kept' in found) return end(run, found.kept)
  const mustBeSoon = hurry(ctx)
  const kept: string[] = []
  for (const made of found.images.filter(({ image }) => !older.done.includes(image.id))) {
    mustBeSoon()
    const need = await whatNeeds(made, ports, ctx)
    const image = made.image.id
    if (!need) return goOn(run, [], { ...older, next: { image, notedAtMs: ctx.clock.nowMs() } })
    kept.push(keptWords(image, need.why))
  }
  return end(run, ...kept.slice(0, mostAtOnce))
}

async function removeNext(
  run: Run,
  older: Older,
  { image, notedAtMs }: NonNullable<Older['next']>,
  ports: Ports,
  ctx: Context,
): Promise<Outcome<'cleanup'>> {
  const found = await outdated(run.wish, ports, ctx)
  const made = 'kept' in found ? undefined : found.images.find((one) => one.image.id === image)
  const became = made ? await remove(made, run.tries > 0, ports, ctx) : await whatBecameOf(image, ports, ctx)
  // An earlier delivery may have asked Glance, which goes on when nobody waits for it any more.
  if (became.isPassing && ctx.clock.nowMs() - notedAtMs < patienceMs) return { is: 'waiting', inMs: 5_000 }
  return goOn(run, [became.words], { done: [...older.done, image], next: null })
}

interface End {
  words: string
  /** it may look otherwise in a while */
  isPassing: boolean
}
const settled = (words: string): End => ({ words, isPassing: false })

async function remove(made: Made, isAgain: boolean, ports: Ports, ctx: Context): Promise<End> {
  const { id } = made.image
  // What was asked before and timed out may wait in front of Glance still, and take effect yet.
  const kept = (why: string) => keptWords(id, isAgain ? `${why}; ${mayBeUnderWay}` : why)
  const mustBeSoon = hurry(ctx)
  const need = await whatNeeds(made, ports, ctx)
  if (need) return { words: kept(need.why), isPassing: need.isHalfGone }
  const now = await ports.images.find(id, ctx.signal)
  if (!now) return settled(goneWords(id))
  const since = whatKeeps(now, made.wish)
  if (since) return settled(kept(since.why))
  const removal = await ports.images.remove(id, mustBeSoon, ctx.signal)
  if (removal.is === 'removed') return settled(`removed image ${id} of the policy`)
  if (removal.is === 'gone') return settled(goneWords(id))
  return { words: kept(removal.why), isPassing: removal.is === 'busy' }
}

/** By an earlier delivery, or by its owner; or it is not to be removed any more. */
async function whatBecameOf(image: string, ports: Pick<Ports, 'images'>, ctx: Context): Promise<End> {
  const there = await ports.images.find(image, ctx.signal)
  const isGone = !there || there.status === 'deleted' || there.status === 'pending_delete'
  return settled(isGone ? goneWords(image) : stillThere(image))
}

const keptWords = (image: string, why: string) => `image ${image} of the policy is kept: ${why}`
const mayBeUnderWay = 'a removal that was asked for before may be under way'
const stillThere = (image: string) =>
  `image ${image} of the policy is there and not outdated any more; ${mayBeUnderWay}`
const goneWords = (image: string) => `image ${image} of the policy is gone`

const goOn = (run: Run, said: string[], older: Older): Outcome<'cleanup'> => ({
  is: 'done',
  next: { ...run, why: [...run.why, ...said], older },
})
const end = (run: Run, ...said: string[]) => endedWell({ ...run, why: [...run.why, ...said] })
