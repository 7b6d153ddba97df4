import type { RunRecord } from './ports/journal.ts'
import { isRunMessage } from './run.ts'
import type { Context, Ports } from './step.ts'

/**
 * A message that is due and that nobody has claimed was lost, or it waits in a backlog: from outside both look the same, and what
 * is sent is safe twice. Three may think it lost: the sweep, a notification that comes again, and the message before it that does.
 *
 * Each copy is noted as the new due time before it is sent. So of those who think so at a time one sends it, and the next copy comes only when
 * the message has waited twice as long: while it waits nobody else moves its due time. Without that the copies in a backlog make
 * it longer, and each of them sends copies of the next message in turn.
 */
export async function sendAgain(
  record: RunRecord,
  afterMs: number,
  { journal, queue }: Pick<Ports, 'journal' | 'queue'>,
  { clock }: Context,
): Promise<boolean> {
  const { claim, dueAtMs, updatedAtMs, message } = record
  const now = clock.nowMs()
  if (claim && claim.untilMs > now) return false
  if (now - dueAtMs < Math.min(longestPauseMs, Math.max(afterMs, dueAtMs - updatedAtMs))) return false
  if (!(await journal.save({ ...record, dueAtMs: now }))) return false
  await queue.send(isRunMessage(message) ? message : { ...message, tries: 0 })
  return true
}

const longestPauseMs = 900_000
