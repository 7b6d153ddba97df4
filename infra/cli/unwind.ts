import { Failure } from '../../shared/failures.ts'
import type { Journal, RunRecord, StepRecord } from '../../shared/ports/journal.ts'
import { isRunMessage, messageVersion, type Because, type MessageOf } from '../../shared/run.ts'
import { longAgoMs } from './retry.ts'

/**
 * A run that shall not go on is taken back: what it made is removed and the trigger answered. As with `retry` only the journal
 * is written, and the sweep sends what is due.
 *
 * A function that is at work on the run keeps its claim but cannot renew it any more, nor note an outcome: the unwinding begins
 * when that claim is over.
 */
export async function unwind(record: RunRecord, journal: Journal, nowMs: number): Promise<void> {
  const { wish } = record
  const refusal = whyNot(record)
  if (refusal !== null) throw new Failure('BAD_REQUEST', `run ${wish.run} ${refusal}`)
  const message = unwinding(record, nowMs)
  const saved = await journal.save({
    ...record,
    hop: message.hop,
    message,
    outcome: null,
    code: null,
    reason: null,
    endedAtMs: null,
    progress: null,
    lost: 0,
    timeline: closed(record.timeline, message.because, nowMs),
    dueAtMs: longAgoMs,
    updatedAtMs: nowMs,
  })
  if (!saved)
    throw new Failure('BAD_REQUEST', `run ${wish.run} was changed by somebody else just now; look at it again.`)
}

function whyNot({ outcome, message }: RunRecord): string | null {
  if (outcome !== null && outcome !== 'parked') return `has ended (${outcome}); there is nothing to unwind.`
  switch (message.step) {
    case 'flatten':
    case 'cleanup':
      return `is at ${message.step}: its image is active, and an active image only goes forward. Mend what stopped it, then \`rbdsnap run retry\`; who does not want the image deletes it in Glance afterwards.`
    case 'unwind':
      return 'is being unwound already; when it is parked there, `rbdsnap run retry` goes on with it.'
    case 'ingest':
      // The door holds no claim, so it could still be marking Nova's image while the mark is taken off.
      return outcome === null ? 'has not begun yet; look at it again in a minute.' : null
    default:
      return null
  }
}

function unwinding(record: RunRecord, nowMs: number): MessageOf<'unwind'> {
  const run = isRunMessage(record.message) ? record.message : null
  return {
    v: messageVersion,
    step: 'unwind',
    wish: record.wish,
    hop: record.hop + 1,
    tries: 0,
    sinceMs: nowMs,
    disk: run && 'disk' in run ? run.disk : null,
    consistency: run && 'consistency' in run ? run.consistency : null,
    why: run && 'why' in run ? run.why : [],
    undos: record.undos,
    because: becauseOf(record),
  }
}

/** What stopped a parked run stays its reason. */
function becauseOf({ outcome, code, reason, message: { step } }: RunRecord): Because {
  if (outcome === null) return { code: 'CALLED_OFF', words: `It was at ${step}.`, at: step }
  return { code: code ?? 'CALLED_OFF', words: `Unwound by hand. ${reason ?? ''}`.trim(), at: step }
}

function closed(timeline: StepRecord[], { code, words }: Because, nowMs: number): StepRecord[] {
  const last = timeline.at(-1)
  if (!last || last.endedAtMs !== null) return timeline
  return [...timeline.slice(0, -1), { ...last, outcome: 'failed', code, words, endedAtMs: nowMs }]
}
