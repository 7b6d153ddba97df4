import type { RunRecord } from '../../shared/ports/journal.ts'
import { due, nowMs, snapped, tagWish } from './given.ts'

/** A run in the middle, due a minute ago and nobody at it. */
export function record(more: Partial<RunRecord> = {}): RunRecord {
  return {
    wish: tagWish,
    version: 3,
    createdAtMs: nowMs - 120_000,
    updatedAtMs: nowMs - 60_000,
    hop: 4,
    message: due<'clone'>({ step: 'clone', ...snapped }),
    dueAtMs: nowMs - 60_000,
    claim: null,
    lost: 0,
    undos: [],
    timeline: [],
    progress: null,
    outcome: null,
    code: null,
    reason: null,
    endedAtMs: null,
    ...more,
  }
}
