import { claimMs } from './drive.ts'
import { Failure } from './failures.ts'
import type { RunRecord } from './ports/journal.ts'
import { messageVersion, type Draft, type MessageOf, type RunMessage } from './run.ts'
import { sendAgain } from './send-again.ts'
import type { Context, Ports } from './step.ts'

/**
 * The same order for the door, where there is no run yet: the step reserves it, its undo noted, and acts; then the first
 * message of the run is noted, sent, and the notification acknowledged. A notification that comes again finds the run either
 * still at hop 0, and goes on from there, or moved on, and does nothing.
 */
export interface Ingested {
  /** `next` is null when an earlier delivery noted the first message, and may have died before it sent it */
  begun: { record: RunRecord; next: Draft<'quiesce' | 'unwind'> | null }[]
  /** runs whose message waits for its time, and is to be sent now, because something that they wait for may have happened */
  woken: RunRecord[]
  /** what the first wish that could not be begun failed with; the notification comes again for it */
  failed?: unknown
  /** what no run stands for, in words for the log */
  said?: string[]
}
export type IngestStep = (message: MessageOf<'ingest'>, ports: Ports, ctx: Context) => Promise<Ingested>

/** What became of the notification, in words for the log, and what it failed with. */
export interface Carried {
  says: string
  failure?: Failure
}

/**
 * Nova, Keystone or Glance may be away for minutes, in an upgrade for an hour or two: what was asked for is served when they are back,
 * and no person is called for it. Pauses double up to two minutes; the last try comes after some three hours.
 */
const firstPauseMs = 2_000
const longestPauseMs = 120_000
const mostTries = 96

export async function driveIngest(
  message: MessageOf<'ingest'>,
  step: IngestStep,
  ports: Ports,
  ctx: Context,
): Promise<Carried> {
  let ingested: Ingested
  try {
    ingested = await step(message, ports, ctx)
  } catch (error) {
    return failed(message, error, ports, ctx)
  }
  const begun: string[] = []
  for (const { record, next } of ingested.begun) {
    if (next) await begin(record, next, ports, ctx)
    else if (!(await sendAgain(record, claimMs, ports, ctx))) continue
    begun.push(record.wish.run)
  }
  for (const { message: waiting } of ingested.woken) await ports.queue.send(waiting)
  if (ingested.failed !== undefined) return failed(message, ingested.failed, ports, ctx)
  const says = begun.length > 0 ? `begun ${begun.join(' ')}` : ingested.woken.length > 0 ? 'woken' : 'nothing to do'
  return { says: [says, ...(ingested.said ?? [])].join('; ') }
}

async function begin(record: RunRecord, next: Draft<'quiesce' | 'unwind'>, ports: Ports, ctx: Context): Promise<void> {
  const now = ctx.clock.nowMs()
  const first: RunMessage = { ...next, v: messageVersion, hop: 1, tries: 0, sinceMs: now }
  const [ingest, ...rest] = record.timeline
  const timeline = ingest ? [{ ...ingest, endedAtMs: now }, ...rest] : rest
  const noted = await ports.journal.save({
    ...record,
    hop: 1,
    message: first,
    dueAtMs: now,
    updatedAtMs: now,
    timeline,
  })
  // Somebody else, with the same notification, was quicker: theirs is the same message.
  if (noted) await ports.queue.send(first)
}

/** Later, a bounded number of times; after that, or when it can never work, it is parked with what is known of it. */
async function failed(message: MessageOf<'ingest'>, error: unknown, ports: Ports, ctx: Context): Promise<Carried> {
  const failure =
    error instanceof Failure
      ? error
      : new Failure('UNKNOWN', error instanceof Error ? `${error.name}: ${error.message}` : String(error))
  if (failure.kind === 'retry' && message.tries + 1 < mostTries) {
    const pauseMs = Math.min(firstPauseMs * 2 ** message.tries, longestPauseMs)
    await ports.queue.send({ ...message, tries: message.tries + 1 }, pauseMs)
    return { says: 'again later', failure }
  }
  const body = JSON.stringify(message)
  await ports.journal.park({
    id: idOf(message, body),
    atMs: ctx.clock.nowMs(),
    code: failure.code,
    words: failure.words,
    body,
  })
  return { says: 'parked', failure }
}

function idOf({ heard }: MessageOf<'ingest'>, body: string): string {
  if (heard.is === 'notification') return `notification/${heard.messageId}`
  return heard.is === 'tagged' ? `tagged/${heard.instance}/${heard.tag}` : `unreadable/${body.slice(0, 255)}`
}
