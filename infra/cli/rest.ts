import { Failure } from '../../shared/failures.ts'
import { view, type RunView } from '../../shared/view.ts'
import type { Session } from './session.ts'

/**
 * Until nothing is left to do: the first queue has been taken, and every run has ended. Runs are watched in the journal, which
 * is what a run is; a message that a queue lost is sent again by the sweep.
 */
const lookEveryMs = 100
const patienceMs = 300_000

/** @param seen what `onChange` was told before, so that nothing is told twice */
export async function untilAtRest(
  session: Session,
  onChange: (run: RunView) => void = () => undefined,
  seen = new Map<string, string>(),
): Promise<void> {
  const endAtMs = Date.now() + patienceMs
  let quietLooks = 0
  while (quietLooks < 3) {
    const open = await session.journal.overdue(Number.MAX_SAFE_INTEGER, 1_000)
    for (const record of await session.journal.list(200)) {
      const now = view(record)
      const state = `${now.step ?? ''}/${now.steps.at(-1)?.outcome ?? ''}/${now.outcome ?? ''}`
      if (seen.get(now.run) === state) continue
      seen.set(now.run, state)
      onChange(now)
    }
    const isQuiet = open.length === 0 && (await session.depthOf('ingest')) === 0
    quietLooks = isQuiet ? quietLooks + 1 : 0
    if (Date.now() > endAtMs) {
      const runs = open.map((r) => `${r.wish.run} at ${r.message.step}`).join(', ')
      throw new Failure(
        'OVERDUE',
        `After ${patienceMs / 1000} s there is still work: ${runs || 'notifications not taken'}.`,
      )
    }
    await new Promise((resolve) => setTimeout(resolve, lookEveryMs))
  }
}
