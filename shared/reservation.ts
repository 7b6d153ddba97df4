import { claimMs } from './drive.ts'
import type { Ingested } from './drive-ingest.ts'
import { Failure, type FailureCode } from './failures.ts'
import { refusedRun } from './names.ts'
import type { Server } from './ports/compute.ts'
import type { RunOutcome, RunRecord } from './ports/journal.ts'
import type { MessageOf, Wish } from './run.ts'
import type { Context, Ports } from './step.ts'

/** How a wish gets its place in the journal, or is turned away: once, however often and by whomever it is heard. */
export type Begun = Ingested['begun'][number]
type Message = MessageOf<'ingest'>

/** Nothing was begun and no run stands for it: why, for the log. */
export interface Dropped {
  dropped: string
}

/** A notification comes again because its function died only after the queue hid it for longer than a claim; sooner it is a twin. */
export function neverSent(record: RunRecord, ctx: Context): Begun | null {
  const isFirst = record.hop === 1 && record.outcome === null && record.claim === null
  return isFirst && ctx.clock.nowMs() - record.updatedAtMs >= claimMs ? { record, next: null } : null
}

/** Of each limit: events come in waves, all servers of a project stopped at once, and must leave room for what people ask. */
const policyShare = 0.5

interface Refusal {
  code: FailureCode
  words: string
  /** nothing was made and nobody is to be answered */
  isEnd: boolean
}

export async function refusalOf(
  wish: Wish,
  server: Server | null,
  ports: Ports,
  ctx: Context,
): Promise<Refusal | null> {
  const { instance, project } = wish
  if (!server) return { code: 'INSTANCE_GONE', words: `instance ${instance}`, isEnd: true }
  if (server.project !== project) {
    return {
      code: 'FOREIGN_PROJECT',
      words: `The notification says project ${project}, Nova says ${server.project}.`,
      isEnd: true,
    }
  }
  const sinceMs = ctx.clock.nowMs() - 3_600_000
  const { limits } = ctx.settings.rules
  const share = wish.trigger.is === 'policy' ? policyShare : 1
  for (const by of [{ instance }, { project }]) {
    const limit = 'instance' in by ? limits.instance : limits.project
    const count = await ports.journal.countOf(by, sinceMs)
    const whose = 'instance' in by ? `instance ${instance}` : `project ${project}`
    if (count.open >= limit.open * share)
      return { code: 'LIMIT_REACHED', words: `${whose} has ${count.open} snapshots in the making.`, isEnd: false }
    if (count.since >= limit.perHour * share)
      return { code: 'LIMIT_REACHED', words: `${whose} made ${count.since} in the last hour.`, isEnd: false }
  }
  return null
}

/** Noted for whoever looks, with nothing begun; unless an earlier delivery died after it had reserved the run. */
export async function refuse(
  wish: Wish,
  code: FailureCode,
  words: string,
  message: Message,
  ports: Ports,
  ctx: Context,
): Promise<Begun | null> {
  const now = ctx.clock.nowMs()
  const outcome: RunOutcome = code === 'NOVA_DID_IT' ? 'nova-did-it' : 'rejected'
  // A forged notification is noted, but not under the id of the genuine one's run, which it would shut out.
  if (code === 'FOREIGN_PROJECT') wish = { ...wish, run: refusedRun(wish.run, wish.project) }
  const { record, isNew } = await ports.journal.reserve({
    ...reservation(wish, message, [], ctx),
    hop: 1,
    outcome,
    code,
    reason: words,
    endedAtMs: now,
  })
  const isBegun = record.hop > 0 || record.outcome !== null
  return isNew || isBegun ? null : backOut(record, new Failure(code, words))
}

export function backOut(record: RunRecord, { code, words }: Failure): Begun {
  const { wish, undos } = record
  const because = { code, words, at: 'ingest' }
  return { record, next: { step: 'unwind', wish, disk: null, consistency: null, why: [], undos, because } }
}

export function reservation(wish: Wish, message: Message, undos: RunRecord['undos'], ctx: Context): RunRecord {
  const now = ctx.clock.nowMs()
  return {
    wish,
    version: 0,
    createdAtMs: now,
    updatedAtMs: now,
    hop: 0,
    message,
    dueAtMs: now,
    claim: null,
    lost: 0,
    undos,
    timeline: [
      {
        step: 'ingest',
        startedAtMs: now,
        endedAtMs: now,
        tries: message.tries + 1,
        outcome: 'done',
        code: null,
        words: null,
      },
    ],
    progress: null,
    outcome: null,
    code: null,
    reason: null,
    endedAtMs: null,
  }
}
