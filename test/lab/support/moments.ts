import type { RunRecord } from '../../../shared/ports/journal.ts'
import { tagRun } from '../../../shared/names.ts'
import type { RunStep } from '../../../shared/run.ts'
import type { Story } from './story.ts'
import { pause, waitFor } from './wait.ts'

/** Wishes by their run, which is known before anything happens: to strike in the middle of it, and to see how it ends. */
export interface Asked {
  server: string
  name: string
  run: string
}

/** What `snapshot:NAME` will be when it is set now. */
export async function wishOf({ engine }: Story, server: string, name: string): Promise<Asked> {
  const tag = `snapshot:${name}`
  return { server, name, run: tagRun(server, tag, await engine.journal.tagEpoch(server, tag)) }
}

export async function ask(story: Story, server: string, name: string): Promise<Asked> {
  const asked = await wishOf(story, server, name)
  await story.servers.setTag(server, `snapshot:${name}`)
  return asked
}

/**
 * The moment at which a function is at work on that step. It may be over in a tenth of a second, so the journal is looked at
 * as often as that takes.
 */
export async function untilAtWork({ engine }: Story, { server, run }: Asked, step: RunStep): Promise<void> {
  for (const endAtMs = Date.now() + withinMs; Date.now() < endAtMs;) {
    const record = await engine.journal.find(server, run)
    const last = record?.timeline.at(-1)
    if (last?.step === step && last.outcome === 'running') return
    if (record?.outcome) throw new Error(`run ${run} has ended, ${record.outcome}: nobody was seen at ${step}`)
    await pause(5)
  }
  throw new Error(`nobody was at ${step} of run ${run} within ${withinMs / 1000} s`)
}

/** However it ends. */
export async function endOf({ engine }: Story, { server, run }: Asked): Promise<RunRecord> {
  const ended = await waitFor(
    `run ${run} has ended`,
    () => engine.journal.find(server, run),
    (seen) => seen !== null && seen.outcome !== null,
    withinMs,
  )
  return ended!
}

const withinMs = 150_000
