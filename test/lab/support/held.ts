import type { RunRecord } from '../../../shared/ports/journal.ts'
import type { Engine } from './engine.ts'
import { waitFor } from './wait.ts'

/** The newest run of a server when its next step is one of these. */
export function untilAt(engine: Engine, server: string, ...steps: RunRecord['message']['step'][]): Promise<RunRecord> {
  return waitFor(
    `the run of server ${server} is at ${steps.join(' or ')}`,
    () => engine.journal.latestOf(server),
    (run) => run !== null && steps.includes(run.message.step),
    120_000,
  ) as Promise<RunRecord>
}

/** The functions stand still while `work` lasts, as on a machine that is overloaded; what they asked of others goes on. */
export async function whileHeld<T>(engine: Engine, work: () => Promise<T>): Promise<T> {
  const pid = engine.stack.pid('functions')
  process.kill(pid, 'SIGSTOP')
  try {
    return await work()
  } finally {
    process.kill(pid, 'SIGCONT')
  }
}
