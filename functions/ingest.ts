import { beginPolicy } from '../shared/begin-policy.ts'
import { freeImage, imageOfTakeOver } from '../shared/choose-image.ts'
import type { Ingested } from '../shared/drive-ingest.ts'
import { Failure } from '../shared/failures.ts'
import { recordOf } from '../shared/image-record.ts'
import { lambdaIngest } from '../shared/lambda.ts'
import { imageName, imageOf, nameAfter, properties, tagRun, takeOverRun, timeInName } from '../shared/names.ts'
import type { RunRecord } from '../shared/ports/journal.ts'
import { backOut, neverSent, refusalOf, refuse, reservation, type Begun, type Dropped } from '../shared/reservation.ts'
import { explain, runOfTakeOver, type Explained, type Rule, type TagWish, type TakeOver } from '../shared/rules.ts'
import type { Heard, MessageOf, Notification, Wish } from '../shared/run.ts'
import type { Context, Ports } from '../shared/step.ts'

/**
 * A Nova notification becomes at most one run for each wish in it. An event is only a hint: Nova and Glance are asked whether
 * the wish still stands. The run is reserved, its undo noted, before Nova's image is claimed; a second notification of the
 * same wish, in either format, finds the reservation.
 */
type Message = MessageOf<'ingest'>

export async function ingest(message: Message, ports: Ports, ctx: Context): Promise<Ingested> {
  if (message.heard.is === 'unreadable') {
    await park(message.heard, ports, ctx)
    return { begun: [], woken: [] }
  }
  const heard = message.heard.is === 'tagged' ? lostUpdate(message.heard, ctx) : message.heard
  const explained = explain(heard, ctx.settings.rules)
  const open = explained.decision === 'note' && heard.instance ? await ports.journal.openOf(heard.instance) : []
  // One that is due already is on its way, and would only be joined by a copy.
  const woken = open.filter(({ dueAtMs }) => dueAtMs > ctx.clock.nowMs())
  const begun: Begun[] = []
  const dropped: string[] = []
  // One after the other: each counts against the limits of the next.
  for (const begin of beginnings(explained, heard, message, ports, ctx)) {
    try {
      const one = await begin()
      if (one && 'dropped' in one) dropped.push(one.dropped)
      else if (one) begun.push(one)
    } catch (failed) {
      // Those before it go on, and are not asked for again: fifty tags of a slow cloud take more than one function's time.
      return { begun, woken, failed }
    }
  }
  return { begun, woken, ...(dropped.length > 0 ? { said: dropped } : {}) }
}

/** One for each wish in the notification. */
function beginnings(
  explained: Explained,
  heard: Notification,
  message: Message,
  ports: Ports,
  ctx: Context,
): (() => Promise<Begun | Dropped | null>)[] {
  const { policy } = explained
  const standing = policy ? [() => beginPolicy(heard, policy, message, ports, ctx)] : []
  if (explained.decision !== 'request') return standing
  const { wishes, rule } = explained
  const asked = wishes.map(
    (wish) => () =>
      wish.is === 'take-over'
        ? beginTakeOver(heard, wish, rule, message, ports, ctx)
        : beginTag(heard, wish, rule, message, ports, ctx),
  )
  return [...asked, ...standing]
}

/** A request that the sweep found goes by the rules as the notification that was lost would have. */
function lostUpdate({ instance, project, tag }: Extract<Heard, { is: 'tagged' }>, ctx: Context): Notification {
  return {
    is: 'notification',
    format: 'versioned',
    eventType: 'instance.update',
    event: 'instance.update',
    messageId: `tagged/${instance}/${tag}`,
    atMs: ctx.clock.nowMs(),
    instance,
    project,
    image: null,
    tags: [tag],
  }
}

async function beginTakeOver(
  heard: Notification,
  asked: TakeOver,
  rule: Rule,
  message: Message,
  ports: Ports,
  ctx: Context,
): Promise<Begun | null> {
  const { instance, project } = heard
  if (!instance || !project) return null
  const before = await reservationOf(heard, instance, asked, ports)
  if (before && (before.hop > 0 || before.outcome !== null)) return neverSent(before, ctx)
  const named = asked.image ?? before?.wish.image ?? null
  const [server, image] = await Promise.all([
    ports.compute.find(instance, ctx.signal),
    imageOfTakeOver(heard, named, ports, ctx),
  ])
  const id = image?.id ?? named
  if (id === null) return null
  if (!image && server)
    return before && backOut(before, new Failure('IMAGE_GONE', `image ${id} was deleted before we began.`))
  const wish: Wish = {
    run: takeOverRun(id),
    instance,
    project,
    image: id,
    imageName: imageName(image?.name ?? ''),
    trigger: { is: 'take-over' },
    quiesce: rule.quiesce,
    rule: rule.name,
    requestedAtMs: ctx.clock.nowMs(),
  }
  const refusal = await refusalOf(wish, server, ports, ctx)
  const isForeign = server && image && (image.owner !== project || image.properties['instance_uuid'] !== instance)
  if (isForeign)
    return refuse(wish, 'FOREIGN_PROJECT', `image ${id} is not instance ${instance}'s.`, message, ports, ctx)
  if (refusal?.isEnd) return refuse(wish, refusal.code, refusal.words, message, ports, ctx)
  if (!server || !image) return null
  if (image.status !== 'queued' && image.properties[properties.run] !== wish.run) {
    return refuse(wish, 'NOVA_DID_IT', `image ${id} was ${image.status} before we came.`, message, ports, ctx)
  }
  // Over the limit Nova simply does its own snapshot: nothing of it was touched.
  if (refusal && !before) return refuse(wish, refusal.code, refusal.words, message, ports, ctx)

  const reserved = await ports.journal.reserve(reservation(wish, message, ['releaseClaim'], ctx))
  if (reserved.record.hop > 0 || reserved.record.outcome !== null) return null
  const isClaimed = image.properties[properties.run] === wish.run
  const own = image.isProtected && !isClaimed ? { [properties.ownerProtected]: 'true' } : {}
  const record = recordOf(wish, server, null)
  try {
    await ports.images.claim(
      id,
      { minDiskGib: record.minDiskGib, properties: { [properties.run]: wish.run, ...own } },
      ctx.signal,
    )
  } catch (error) {
    if (!(error instanceof Failure) || error.kind === 'retry') throw error
    if (error.kind === 'reject') return backOut(reserved.record, error)
    const { code, message: reason } = error
    await ports.journal.save({ ...reserved.record, outcome: 'parked', code, reason, endedAtMs: ctx.clock.nowMs() })
    return null
  }
  return { record: reserved.record, next: { step: 'quiesce', wish: reserved.record.wish } }
}

/** The reservation of this wish. A legacy notification names no image: its own id tells it when it comes again. */
async function reservationOf(
  heard: Notification,
  instance: string,
  asked: TakeOver,
  ports: Ports,
): Promise<RunRecord | null> {
  const run = runOfTakeOver(asked)
  if (run !== null) return ports.journal.find(instance, run)
  const open = await ports.journal.openOf(instance)
  const isOfIt = ({ message: m }: RunRecord) =>
    m.step === 'ingest' && m.heard.is === 'notification' && m.heard.messageId === heard.messageId
  return open.find(isOfIt) ?? null
}

async function beginTag(
  heard: Notification,
  asked: TagWish,
  rule: Rule,
  message: Message,
  ports: Ports,
  ctx: Context,
): Promise<Begun | null> {
  const { instance, project } = heard
  if (!instance || !project) return null
  // Before the server: a run takes its tag off before it ends, so whoever sees the tag after this has this epoch.
  const epoch = await ports.journal.tagEpoch(instance, asked.tag)
  const run = tagRun(instance, asked.tag, epoch)
  const before = await ports.journal.find(instance, run)
  if (before && before.hop > 0) return neverSent(before, ctx)
  const [server, image] = await Promise.all([
    ports.compute.find(instance, ctx.signal),
    before?.wish.image ?? freeImage(run, project, ports, ctx),
  ])
  if (!before && server?.project === project && !server.tags.includes(asked.tag)) return null
  // The tag of an instance that is gone cannot be taken off: it is heard again with every late notification.
  if (!before && !server && (await ports.journal.latestOf(instance))) return null
  const now = ctx.clock.nowMs()
  const wish: Wish = {
    run,
    instance,
    project,
    image,
    imageName: asked.name === null ? nameAfter(server?.name ?? instance, timeInName(now)) : imageName(asked.name),
    trigger: { is: 'tag', tag: asked.tag, epoch },
    quiesce: rule.quiesce,
    rule: rule.name,
    requestedAtMs: now,
  }
  const refusal = before ? null : await refusalOf(wish, server, ports, ctx)
  if (refusal?.isEnd) return refuse(wish, refusal.code, refusal.words, message, ports, ctx)
  const { record } = await ports.journal.reserve(reservation(wish, message, [], ctx))
  if (record.hop > 0 || record.outcome !== null) return null
  // The tag is the tenant's; taking it off again, and the run that says why, is the visible answer.
  if (refusal) return backOut(record, new Failure(refusal.code, refusal.words))
  return { record, next: { step: 'quiesce', wish: record.wish } }
}

async function park(heard: Extract<Heard, { is: 'unreadable' }>, ports: Ports, ctx: Context): Promise<void> {
  await ports.journal.park({
    id: imageOf(`${heard.why}/${heard.text}`, 0),
    atMs: ctx.clock.nowMs(),
    code: 'BAD_NOTIFICATION',
    words: heard.why,
    body: heard.text,
  })
}

export const handler = lambdaIngest(ingest)
