import { Failure } from './failures.ts'
import { fenced } from './fence.ts'
import { guestOf, instanceLease } from './freeze.ts'
import { besides, decide, pipeline, type Decision, type Result, type UndoName } from './pipeline.ts'
import type { RunRecord, StepRecord } from './ports/journal.ts'
import {
  isRunMessage,
  message as messageSchema,
  messageVersion,
  type Because,
  type Draft,
  type MessageOf,
  type RunMessage,
  type RunStep,
} from './run.ts'
import { sendAgain } from './send-again.ts'
import type { Context, Ended, Outcome, Ports, Step } from './step.ts'

/**
 * One delivery of one message of a run. The order is fixed:
 *
 *   claim the run and note the undo -> act -> decide -> note the outcome with the next message -> send it -> acknowledge
 *
 * Every note is one conditional write of the run's record, so of two deliveries of the same message one loses before it acts,
 * and a function that was paused beyond its claim is refused when it wakes: it sends nothing. A crash
 * - before the claim: nothing happened, the queue delivers again
 * - between claim and note: the claim expires before the queue shows the message again; the step acts twice, which is once
 * - between note and send: the message that comes again is stale; it finds the next one noted and unclaimed, and sends that
 * - after send: the message that comes again is stale and is dropped
 * Nothing is acknowledged before the next message is with the queue. What the queue itself loses, the sweep sends again.
 */
export type Delivery = (
  | { is: 'acknowledged'; because: 'moved on' | 'again later' | 'ended' | 'parked' | 'stale' }
  /** left in the queue: another delivery is at it, or took over from us */
  | { is: 'left'; because: 'busy' | 'fenced' }
) & {
  /** what the step failed with, so that the log says it where it says that the run was tried again, diverted, undone or parked */
  failure?: Failure
}

export interface DriveContext extends Context {
  /** a fencing token for this delivery */
  token: string
  /** from 0 to 1, spreads retries */
  jitter: number
  /** calls `renew` every so often until it is stopped: a step may take longer than its claim. Stopped means that none is under way. */
  keepAlive: (renew: () => Promise<void>, everyMs: number) => () => Promise<void>
}

/** A claim outlives the longest pause between two renewals and is over before the queue shows the message again. */
export const claimMs = 8_000
const renewEveryMs = 2_500

export async function drive<S extends RunStep>(
  message: MessageOf<S>,
  step: Step<S>,
  ports: Ports,
  ctx: DriveContext,
): Promise<Delivery> {
  const run = message as RunMessage
  const record = await ports.journal.find(run.wish.instance, run.wish.run)
  if (!record) {
    await parkUnowned(run, ports, ctx)
    return { is: 'acknowledged', because: 'parked' }
  }
  if (record.outcome !== null || run.hop !== record.hop) return stale(run, record, ports, ctx)
  const now = ctx.clock.nowMs()
  if (record.claim && record.claim.untilMs > now) return { is: 'left', because: 'busy' }

  const claimed = await ports.journal.save(claim(record, run, ctx))
  if (!claimed) return { is: 'left', because: 'busy' }
  const held = { record: claimed, lapse: new AbortController() }
  const stop = ctx.keepAlive(() => renew(held, ports, ctx), renewEveryMs)
  const signal = AbortSignal.any([ctx.signal, held.lapse.signal])
  const mayAct = () => ctx.clock.nowMs() < (held.record.claim?.untilMs ?? 0)
  const acted = await act(message, step, held, fenced(ports, mayAct), { ...ctx, signal }).finally(stop)

  const why = 'failure' in acted ? { failure: acted.failure } : {}

  const noted = await ports.journal.save(settleOrPark(held.record, run, acted, ctx))
  if (!noted) {
    await thawUnexpected(run, ports)
    return { is: 'left', because: 'fenced', ...why }
  }
  if (noted.outcome !== null)
    return { is: 'acknowledged', because: noted.outcome === 'parked' ? 'parked' : 'ended', ...why }
  await ports.queue.send(noted.message, Math.max(0, noted.dueAtMs - ctx.clock.nowMs()))
  // a step may be done and go on to itself
  const isOnwards = 'outcome' in acted ? acted.outcome.is === 'done' : noted.message.step !== run.step
  return { is: 'acknowledged', because: isOnwards ? 'moved on' : 'again later', ...why }
}

/** An outage is waited for; what kills its function each time is not one. */
const mostDeaths = 40

type Acted = { outcome: Outcome<RunStep> } | { failure: Failure }

async function act<S extends RunStep>(
  message: MessageOf<S>,
  step: Step<S>,
  held: { record: RunRecord },
  ports: Ports,
  ctx: DriveContext,
): Promise<Acted> {
  const { lost } = held.record
  const { step: at } = message as RunMessage
  if (lost >= Math.min(pipeline[at].tries, mostDeaths))
    return { failure: new Failure('OVERDUE', `The function died ${lost} times in the step ${at}.`) }
  try {
    return { outcome: (await step(message, ports, ctx)) as Outcome<RunStep> }
  } catch (error) {
    return { failure: asFailure(error) }
  }
}

/** What is not a Failure is a bug of ours: parked, never retried. */
function asFailure(error: unknown): Failure {
  if (error instanceof Failure) return error
  const words = error instanceof Error ? `${error.name}: ${error.message}` : String(error)
  return new Failure('UNKNOWN', words.slice(0, 500), { cause: error })
}

/**
 * A message that comes again because its function died does so after the queue hid it for longer than a claim; one that comes
 * sooner is a twin, and would become a second chain of messages beside the first. One that waits for its time is the sweep's, if it is lost.
 */
async function stale(run: RunMessage, record: RunRecord, ports: Ports, ctx: Context): Promise<Delivery> {
  const isNext = record.outcome === null && record.hop === run.hop + 1 && record.claim?.hop !== record.hop
  if (isNext) await sendAgain(record, claimMs, ports, ctx)
  return { is: 'acknowledged', because: 'stale' }
}

/**
 * Who wakes in a freeze, or in the question whether it held, may have frozen a guest that nobody expects to be frozen any more.
 * Where a freeze is noted its own thaw is armed, and another's window is not disturbed.
 */
async function thawUnexpected({ step, wish }: RunMessage, ports: Ports): Promise<void> {
  if (step !== 'quiesce' && step !== 'snapshot') return
  const lease = await ports.leases.find(instanceLease(wish.instance))
  if (!lease || lease.freeze) return
  await ports.guest.thaw(guestOf(lease), AbortSignal.timeout(thawMs)).catch(() => undefined)
}

/** The step's own time is over. */
const thawMs = 5_000

/** A message whose run the journal does not know: perhaps a journal was lost. Nothing may be concluded from that. */
async function parkUnowned(run: RunMessage, ports: Ports, ctx: Context): Promise<void> {
  await ports.journal.park({
    id: `${run.wish.run}/${run.step}/${run.hop}`,
    atMs: ctx.clock.nowMs(),
    code: 'BAD_MESSAGE',
    words: `The journal has no run ${run.wish.run} of instance ${run.wish.instance}.`,
    body: JSON.stringify(run),
  })
}

function claim(record: RunRecord, run: RunMessage, ctx: DriveContext): RunRecord {
  const now = ctx.clock.nowMs()
  const { undo } = pipeline[run.step]
  const undos: UndoName[] = undo === null || record.undos.includes(undo) ? record.undos : [...record.undos, undo]
  const isAfterDeath = record.claim?.hop === run.hop
  return {
    ...record,
    updatedAtMs: now,
    claim: { token: ctx.token, hop: run.hop, untilMs: now + claimMs },
    lost: isAfterDeath ? record.lost + 1 : 0,
    undos,
    timeline: begin(record.timeline, run, now),
  }
}

async function renew(
  held: { record: RunRecord; lapse: AbortController },
  ports: Ports,
  ctx: DriveContext,
): Promise<void> {
  const { record } = held
  if (!record.claim) return
  const renewed = await ports.journal.save({
    ...record,
    claim: { ...record.claim, untilMs: ctx.clock.nowMs() + claimMs },
  })
  if (renewed) held.record = renewed
  // Somebody else has the run: whatever the step was about to do is theirs to do.
  else held.lapse.abort()
}

/** A draft that lacks something is a bug of ours as well: parked, with the run as it was. */
function settleOrPark(record: RunRecord, run: RunMessage, acted: Acted, ctx: DriveContext): RunRecord {
  try {
    return settle(record, run, acted, ctx)
  } catch (error) {
    return settle(record, run, { failure: asFailure(error) }, ctx)
  }
}

function settle(record: RunRecord, run: RunMessage, acted: Acted, ctx: DriveContext): RunRecord {
  const now = ctx.clock.nowMs()
  const decision = decide(run.step, run.tries, now - run.sinceMs, resultOf(acted), ctx.jitter)
  const failure = 'failure' in acted ? acted.failure : null
  const base: RunRecord = {
    ...record,
    updatedAtMs: now,
    claim: null,
    lost: 0,
    timeline: finish(record.timeline, decision, acted, now),
  }
  const onward = (next: RunMessage, dueAtMs: number): RunRecord => ({ ...base, hop: next.hop, message: next, dueAtMs })
  if ('outcome' in acted && acted.outcome.is === 'ended') return end(base, acted.outcome, now)
  switch (decision.do) {
    case 'go on': {
      const { next } = (acted as { outcome: Extract<Outcome<RunStep>, { is: 'done' }> }).outcome
      return { ...onward(number(next, run, { now }), now), progress: null }
    }
    case 'again': {
      const again = { ...run, hop: run.hop + 1, tries: decision.countsAsTry ? run.tries + 1 : run.tries }
      return { ...onward(again, now + decision.inMs), progress: fractionOf(acted) ?? base.progress }
    }
    case 'divert':
      return onward(number(diverted(run, failure), run, { now }), now)
    case 'unwind':
      return onward(number(unwound(run, base.undos, failure), run, { now }), now)
    case 'park': {
      const final = failure ?? new Failure('OVERDUE', `The step ${run.step} waited longer than it may.`)
      const isOut = final.kind === 'retry'
      const reason = isOut ? `Given up after ${run.tries + 1} tries. ${final.message}` : final.message
      const code = isOut ? (run.step === 'unwind' ? 'UNDO_FAILED' : 'OVERDUE') : final.code
      return { ...base, outcome: 'parked', code, reason, endedAtMs: now }
    }
  }
}

function end(record: RunRecord, ended: Ended, now: number): RunRecord {
  const { outcome, failure, reason } = ended
  return {
    ...record,
    outcome,
    code: failure?.code ?? null,
    reason: reason ?? failure?.words ?? null,
    endedAtMs: now,
    progress: null,
  }
}

function resultOf(acted: Acted): Result {
  if ('failure' in acted) return { is: 'failed', failure: acted.failure }
  return acted.outcome.is === 'waiting' ? { is: 'waiting', inMs: acted.outcome.inMs } : { is: 'done' }
}

function fractionOf(acted: Acted): number | null {
  return 'outcome' in acted && acted.outcome.is === 'waiting' ? (acted.outcome.fraction ?? null) : null
}

/** Numbers a draft and drops what the next step has no use for. */
function number(draft: Draft<RunStep>, run: RunMessage, { now }: { now: number }): RunMessage {
  const isSameStep = draft.step === run.step
  const whole = { ...draft, v: messageVersion, hop: run.hop + 1, tries: 0, sinceMs: isSameStep ? run.sinceMs : now }
  const parsed = messageSchema.parse(whole)
  if (!isRunMessage(parsed)) throw new TypeError(`${parsed.step} is not a step of a run`)
  return parsed
}

function becauseOf(run: RunMessage, failure: Failure | null): Because {
  const final = failure ?? new Failure('OVERDUE', `The step ${run.step} waited longer than it may.`)
  return { code: final.code, words: final.words, at: run.step }
}

function diverted(run: RunMessage, failure: Failure | null): Draft<'fallback'> {
  if (!('consistency' in run) || run.consistency === null || run.disk === null) {
    throw new TypeError(`${run.step} has no snapshot to fall back on`)
  }
  const because = becauseOf(run, failure)
  const { wish, disk, consistency } = run
  const isOutOfCeph = because.code === 'OTHER_CLUSTER' || because.code === 'LOCATION_REFUSED'
  const why = [...run.why, `${because.code}: ${because.words}`]
  return { step: 'fallback', wish, disk, consistency, why, rung: isOutOfCeph ? 'upload' : 'clear' }
}

function unwound(run: RunMessage, undos: UndoName[], failure: Failure | null): Draft<'unwind'> {
  return {
    step: 'unwind',
    wish: run.wish,
    disk: 'disk' in run ? run.disk : null,
    consistency: 'consistency' in run ? run.consistency : null,
    why: 'why' in run ? run.why : [],
    undos,
    because: becauseOf(run, failure),
  }
}

function begin(timeline: StepRecord[], run: RunMessage, now: number): StepRecord[] {
  const last = timeline.at(-1)
  if (last?.step === run.step && last.endedAtMs === null) {
    return [
      ...timeline.slice(0, -1),
      { ...last, outcome: 'running', tries: last.outcome === 'waiting' ? last.tries : last.tries + 1 },
    ]
  }
  return [
    ...timeline,
    { step: run.step, startedAtMs: now, endedAtMs: null, tries: 1, outcome: 'running', code: null, words: null },
  ]
}

function finish(timeline: StepRecord[], decision: Decision, acted: Acted, now: number): StepRecord[] {
  const last = timeline.at(-1)
  if (!last) return timeline
  const failure = 'failure' in acted ? acted.failure : null
  const outcome = (
    {
      'go on': 'done',
      again: failure ? 'retry' : 'waiting',
      divert: 'diverted',
      unwind: 'failed',
      park: 'failed',
    } as const
  )[decision.do]
  const isOver = outcome !== 'retry' && outcome !== 'waiting'
  const said = failure ? { code: failure.code, words: failure.words } : { code: last.code, words: last.words }
  return [...timeline.slice(0, -1), { ...last, ...said, outcome, endedAtMs: isOver ? now : null }]
}

/**
 * A message whose function never answers is set aside after so many deliveries, in every engine: more than the deaths after
 * which the driver gives a run up before its image is active. What is set aside of a run the sweep sends again.
 */
export const mostReceives = 20

/** How long the queue must hide a message: until its function is stopped and its claim is over. */
export function visibilityMs(step: keyof typeof pipeline | keyof typeof besides): number {
  return (
    (step in pipeline ? pipeline[step as RunStep] : besides[step as keyof typeof besides]).timeoutMs + claimMs + 2_000
  )
}
