import type { Failure } from './failures.ts'
import type { RunStep } from './run.ts'

/**
 * THE PIPELINE. Read it top to bottom: this is everything that can happen to a run. Nothing else routes.
 *
 * next      where a step may send the run when it is done
 * divert    where it goes when RBD cannot do it
 * undo      noted in the journal before the step acts; `unwind` runs the noted ones in reverse
 * givesUp   what a final failure leads to: before the image is active everything is undone, after it only a person decides
 * tries     failures of one step before it gives up; the first pause is everyMs and doubles, up to half a minute, with jitter.
 *           A Ceph manager that dies is missed for 33 s (mon_mgr_beacon_grace), so a step outlasts minutes, not seconds. Where
 *           nobody waits any more, the image active or the run on its way back, it outlasts an upgrade of Glance or Keystone: some three hours.
 * leashMs   how long a step may take in all, waits included
 * timeoutMs of the function; the queue hides the message for longer than that
 * parallel  functions of this step at once. All that talk to Ceph's manager share `cephAtOnce` besides.
 */
// a table reads as a table
// prettier-ignore
export const pipeline = {
  quiesce:  { next: ['snapshot'], divert: null,       undo: 'thaw',               givesUp: 'unwind', tries:  12, everyMs: 1_000, leashMs:    900_000, timeoutMs:  15_000, parallel: 4 },
  snapshot: { next: ['clone'],    divert: null,       undo: 'dropSourceSnapshot', givesUp: 'unwind', tries:  12, everyMs: 1_000, leashMs:    900_000, timeoutMs:  15_000, parallel: 8 },
  clone:    { next: ['register'], divert: 'fallback', undo: 'dropClone',          givesUp: 'unwind', tries:  12, everyMs: 1_000, leashMs:  3_600_000, timeoutMs:  15_000, parallel: 8 },
  register: { next: ['flatten'],  divert: 'fallback', undo: 'dropRecord',         givesUp: 'unwind', tries:  12, everyMs: 1_000, leashMs:    900_000, timeoutMs:  15_000, parallel: 4 },
  // ---- point of no return: the image is active; from here only forward ----
  flatten:  { next: ['cleanup'],  divert: null,       undo: null,                 givesUp: 'park',   tries: 490, everyMs: 5_000, leashMs: 86_400_000, timeoutMs:  15_000, parallel: 4 },
  cleanup:  { next: ['cleanup'],  divert: null,       undo: null,                 givesUp: 'park',   tries: 490, everyMs: 5_000, leashMs: 86_400_000, timeoutMs:  15_000, parallel: 4 },
  // ---- the slow road ----
  fallback: { next: ['register', 'cleanup', 'fallback'],
                                  divert: null,       undo: 'dropCopy',           givesUp: 'unwind', tries:  12, everyMs: 5_000, leashMs: 21_600_000, timeoutMs: 900_000, parallel: 2 },
  // ---- the way back ----
  unwind:   { next: ['flatten'],  divert: null,       undo: null,                 givesUp: 'park',   tries: 490, everyMs: 2_000, leashMs: 86_400_000, timeoutMs:  30_000, parallel: 4 },
} as const satisfies Record<RunStep, PipelineRow>

/** The functions that no run passes through: the door, the dead man's switch and the broom. */
export const besides = {
  ingest: { timeoutMs: 15_000, parallel: 4 },
  thaw: { timeoutMs: 15_000, parallel: 4 },
  sweep: { timeoutMs: 60_000, parallel: 1 },
} as const

/**
 * A manager's dashboard has 10 worker threads and a listen backlog of 5; of 128 calls at 16 at once 2 were reset (Ceph 16.2).
 * Every step of a run talks to it, so that many functions of runs are at work at once, whichever their steps.
 */
export const cephAtOnce = 8

/** From `quiesce` to the end of this step a guest stands still: where places are given out, it waits behind nothing else. */
export const endsFreeze: RunStep = 'snapshot'

export type UndoName = 'releaseClaim' | 'thaw' | 'dropSourceSnapshot' | 'dropClone' | 'dropRecord' | 'dropCopy'
export type NextOf<S extends RunStep> = (typeof pipeline)[S]['next'][number]
export type QueueStep = RunStep | keyof typeof besides

interface PipelineRow {
  next: readonly RunStep[]
  divert: RunStep | null
  undo: UndoName | null
  givesUp: 'unwind' | 'park'
  tries: number
  everyMs: number
  leashMs: number
  timeoutMs: number
  parallel: number
}

export type Result = { is: 'done' } | { is: 'waiting'; inMs: number } | { is: 'failed'; failure: Failure }

export type Decision =
  | { do: 'go on' }
  | { do: 'again'; inMs: number; countsAsTry: boolean }
  | { do: 'divert'; to: RunStep }
  | { do: 'unwind' }
  | { do: 'park' }

const longestPauseMs = 30_000
/** SQS delays no longer, and a service that asks for more is asked again then. */
const longestRetryAfterMs = 900_000

/**
 * What happened -> what happens next. Pure; `jitter` is a number from 0 to 1.
 * A failure that would need the fallback where there is none, or that comes after its last try, is final.
 */
export function decide(at: RunStep, tries: number, ageMs: number, result: Result, jitter: number): Decision {
  const row: PipelineRow = pipeline[at]
  const isOverdue = ageMs > row.leashMs
  const giveUp: Decision = { do: row.givesUp }
  if (result.is === 'done') return { do: 'go on' }
  if (result.is === 'waiting') return isOverdue ? giveUp : { do: 'again', inMs: result.inMs, countsAsTry: false }
  const { failure } = result
  if (failure.kind === 'park') return { do: 'park' }
  if (failure.kind === 'reject') return giveUp
  if (failure.kind === 'divert') return row.divert === null ? giveUp : { do: 'divert', to: row.divert }
  if (isOverdue || tries + 1 >= row.tries) return giveUp
  const pauseMs = Math.min(row.everyMs * 2 ** tries, longestPauseMs)
  const inMs = failure.retryInMs ?? Math.round(pauseMs * (0.5 + jitter / 2))
  return { do: 'again', inMs: Math.min(inMs, longestRetryAfterMs), countsAsTry: true }
}
