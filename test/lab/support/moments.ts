import type { RunStep } from '../../../shared/run.ts'
import type { RunRecord } from '../../../shared/ports/journal.ts'
import { pause } from './wait.ts'
import type { Story } from './story.ts'

/**
 * The moment at which a function is at work on a step of the newest run of this server, to strike in the middle of it. A step may
 * be over in a tenth of a second, so the journal is looked at as often as that takes.
 */
export async function untilAtWork({ engine }: Story, server: string, step: RunStep, run: string): Promise<RunRecord> {
  for (const endAtMs = Date.now() + withinMs; Date.now() < endAtMs;) {
    const record = await engine.journal.find(server, run)
    const now = record?.timeline.at(-1)
    if (record && now?.step === step && now.outcome === 'running') return record
    if (record?.outcome != null)
      throw new Error(`run ${run} has ended, ${record.outcome}, and nobody was seen at ${step}`)
    await pause(5)
  }
  throw new Error(`nobody was at ${step} of run ${run} within ${withinMs / 1000} s`)
}

const withinMs = 120_000
