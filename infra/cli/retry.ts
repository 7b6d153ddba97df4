import { Failure } from '../../shared/failures.ts'
import type { Journal, RunRecord } from '../../shared/ports/journal.ts'
import { isRunMessage } from '../../shared/run.ts'

/**
 * A parked run goes on with the message that it stopped at, its tries counted anew. It is only noted as due: the sweep finds
 * it and sends it, so that nothing but the journal need be reached from where a person types.
 */
export async function retry(record: RunRecord, journal: Journal, nowMs: number): Promise<void> {
  const { run } = record.wish
  if (record.outcome !== 'parked')
    throw new Failure('BAD_REQUEST', `run ${run} is not parked; only a parked run can be tried again.`)
  const hop = record.hop + 1
  const message = isRunMessage(record.message)
    ? { ...record.message, hop, tries: 0, sinceMs: nowMs }
    : { ...record.message, tries: 0 }
  const saved = await journal.save({
    ...record,
    hop: isRunMessage(record.message) ? hop : record.hop,
    message,
    outcome: null,
    code: null,
    reason: null,
    endedAtMs: null,
    claim: null,
    lost: 0,
    dueAtMs: longAgoMs,
    updatedAtMs: nowMs,
  })
  if (!saved) throw new Failure('BAD_REQUEST', `run ${run} was changed by somebody else just now; look at it again.`)
}

/** Due before whatever the sweep takes for lost. */
export const longAgoMs = 0
