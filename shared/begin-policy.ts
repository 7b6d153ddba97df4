import { freeImage } from './choose-image.ts'
import { imageName, policyRun, timeInName } from './names.ts'
import { neverSent, refusalOf, refuse, reservation, type Begun } from './reservation.ts'
import type { PolicyWish } from './rules.ts'
import type { MessageOf, Notification, Wish } from './run.ts'
import { removesDisk } from './server-state.ts'
import type { Context, Ports } from './step.ts'

/**
 * The run of a server's policy. Its events carry no tags, and come from every server of the cloud: Nova is asked for the one tag
 * first, which costs it one row, and for the server only when it is there.
 *
 * One event is one run: a policy's lease is taken for the event's own time, in one conditional write. The same event in the other
 * format comes a few hundredths of a second beside it (47 ms at most of 35 pairs that were captured), the same action again
 * later: of two captured soft deletes 13 s. An event older than the last one that was applied finds the lease taken as well.
 */
const twinsMs = 10_000

export async function beginPolicy(
  heard: Notification,
  { action, tag, rule }: PolicyWish,
  message: MessageOf<'ingest'>,
  ports: Ports,
  ctx: Context,
): Promise<Begun | null> {
  const { instance, project, atMs } = heard
  if (!instance || !project) return null
  const run = policyRun(instance, action, atMs)
  const before = await ports.journal.find(instance, run)
  if (before && (before.hop > 0 || before.outcome !== null)) return neverSent(before, ctx)
  if (!before && (isOurFreeze(action, ports) || !(await ports.compute.bears(instance, tag, ctx.signal)))) return null
  const server = await ports.compute.find(instance, ctx.signal)
  // Nova is taking the disk away already, for a rebuild say: a snapshot on it would be in Nova's way.
  if (!before && (!server?.tags.includes(tag) || removesDisk(server))) return null
  const now = ctx.clock.nowMs()
  const wish: Wish = {
    run,
    instance,
    project,
    image: before?.wish.image ?? (await freeImage(run, project, ports, ctx)),
    imageName: imageName(`${server?.name ?? instance}-${action}-${timeInName(atMs)}`),
    trigger: { is: 'policy', action, atMs },
    quiesce: rule.quiesce,
    rule: rule.name,
    requestedAtMs: now,
  }
  const refusal = before ? null : await refusalOf(wish, server, ports, ctx)
  if (refusal?.isEnd) return refuse(wish, refusal.code, refusal.words, message, ports, ctx)
  // A host whose clock is ahead does not shut out what comes after.
  const eventMs = Math.min(atMs, now)
  const isFirst = before || (await ports.leases.take(`policy/${instance}/${action}`, run, eventMs, eventMs + twinsMs))
  if (!isFirst) return null
  // The tag is a policy and stays; the run that says why is the visible answer.
  if (refusal) return refuse(wish, refusal.code, refusal.words, message, ports, ctx)
  const { record } = await ports.journal.reserve(reservation(wish, message, [], ctx))
  if (record.hop > 0 || record.outcome !== null) return null
  return { record, next: { step: 'quiesce', wish: record.wish } }
}

/** Where guests are frozen by Nova's pause (RBDSNAP_GUEST=pause, the one that proves no more than `crash`), each freeze is such an event. */
function isOurFreeze(action: string, ports: Pick<Ports, 'guest'>): boolean {
  return ports.guest.proves !== 'filesystem' && (action === 'pause' || action === 'unpause')
}
