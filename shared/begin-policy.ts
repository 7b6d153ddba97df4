import { freeImage } from './choose-image.ts'
import { Failure } from './failures.ts'
import { nameAfter, policyRun, timeInName } from './names.ts'
import { neverSent, refusalOf, refuse, reservation, type Begun, type Dropped } from './reservation.ts'
import type { PolicyWish } from './rules.ts'
import type { MessageOf, Notification, Wish } from './run.ts'
import { removesDisk } from './server-state.ts'
import type { Context, Ports } from './step.ts'

/**
 * The run of a server's policy. Its events carry no tags, and come from every server of the cloud: Nova is asked for the one tag
 * first, and for the server only when it is there.
 *
 * One event is one run: a policy's lease is taken for the event's own time, in one conditional write. The same event in the other
 * format comes a few hundredths of a second beside it (47 ms at most of 35 pairs that were captured), the same action again
 * later: of two captured soft deletes 13 s. An event older than the last one that was applied finds the lease taken as well.
 */
const twinsMs = 10_000

/** Some four minutes (shared/drive-ingest.ts): a snapshot of a stop is of little use long after it, and nobody waits for it. */
const mostTries = 8
function isLast({ kind }: Failure, { tries }: MessageOf<'ingest'>): boolean {
  return kind !== 'retry' || tries + 1 >= mostTries
}

export async function beginPolicy(
  heard: Notification,
  policy: PolicyWish,
  message: MessageOf<'ingest'>,
  ports: Ports,
  ctx: Context,
): Promise<Begun | Dropped | null> {
  const { instance, project, atMs } = heard
  const { action, tag, rule } = policy
  if (!instance || !project || isOurFreeze(action, ports)) return null
  const run = policyRun(instance, action, atMs)
  const lease = `policy/${instance}/${action}`
  // Before the journal: most servers have no policy, and an outage of ours is nothing to their events.
  const bears = await isThere(tag, instance, lease, message, ports, ctx)
  if (bears !== true) return bears
  const before = await ports.journal.find(instance, run)
  if (before && (before.hop > 0 || before.outcome !== null)) return neverSent(before, ctx)
  if (before) return { record: before, next: { step: 'quiesce', wish: before.wish } }
  if (await isTwin(atMs, instance, lease, ports)) return { dropped: `the last event of ${tag} once more` }
  const server = await ports.compute.find(instance, ctx.signal)
  // Nova is taking the disk away already, for a rebuild say: a snapshot on it would be in Nova's way.
  if (!server?.tags.includes(tag) || removesDisk(server)) return null
  const now = ctx.clock.nowMs()
  const wish: Wish = {
    run,
    instance,
    project,
    image: await freeImage(run, project, ports, ctx),
    // Not the event's time: a notification may be hours late, and the disk is as it is now.
    imageName: nameAfter(server.name, action, timeInName(now)),
    trigger: { is: 'policy', action, atMs },
    quiesce: rule.quiesce,
    rule: rule.name,
    requestedAtMs: now,
  }
  const refusal = await refusalOf(wish, server, ports, ctx)
  if (refusal?.isEnd) return refuse(wish, refusal.code, refusal.words, message, ports, ctx)
  const waits = refusal && new Failure('POLICY_WAITS', refusal.words)
  if (waits && !isLast(waits, message)) throw waits
  // A host whose clock is ahead does not shut out what comes after.
  const eventMs = Math.min(atMs, now)
  if (!(await ports.leases.take(lease, run, eventMs, eventMs + twinsMs)))
    return { dropped: `an event older than the last one of ${tag}, or the same in the other format` }
  // The tag is a policy and stays; the run that says why is the visible answer.
  if (refusal) return refuse(wish, refusal.code, refusal.words, message, ports, ctx)
  const { record } = await ports.journal.reserve(reservation(wish, message, [], ctx))
  if (record.hop > 0 || record.outcome !== null) return null
  return { record, next: { step: 'quiesce', wish: record.wish } }
}

/** Where guests are frozen by Nova's pause (RBDSNAP_GUEST=pause, the one that proves no more than `crash`), each freeze is such an event. */
const freezeActions = ['pause', 'unpause', 'update']
function isOurFreeze(action: string, ports: Pick<Ports, 'guest'>): boolean {
  return ports.guest.proves !== 'filesystem' && freezeActions.includes(action)
}

/**
 * Most servers have no policy. When Nova cannot be asked in the end, the event of one that never had any is dropped: parked, an
 * outage of minutes would leave a person every stop of every server to look at.
 */
async function isThere(
  tag: string,
  instance: string,
  lease: string,
  message: MessageOf<'ingest'>,
  ports: Ports,
  ctx: Context,
): Promise<true | Dropped | null> {
  try {
    return (await ports.compute.bears(instance, tag, ctx.signal)) || null
  } catch (error) {
    if (!(error instanceof Failure) || !isLast(error, message) || (await ports.leases.find(lease))) throw error
    return { dropped: `it is not known whether instance ${instance} bears ${tag}: ${error.message}` }
  }
}

/** The lease cannot tell where a host's clock is ahead of ours: the event's own time can. */
async function isTwin(
  atMs: number,
  instance: string,
  lease: string,
  ports: Pick<Ports, 'leases' | 'journal'>,
): Promise<boolean> {
  const last = (await ports.leases.find(lease))?.holder
  const trigger = last ? (await ports.journal.find(instance, last))?.wish.trigger : undefined
  return trigger?.is === 'policy' && Math.abs(trigger.atMs - atMs) < twinsMs
}
