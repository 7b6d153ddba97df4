import { randomUUID } from 'node:crypto'
import { sqlite } from '../../shared/adapters/sqlite.ts'
import type { RunRecord } from '../../shared/ports/journal.ts'
import { messageVersion, type Wish } from '../../shared/run.ts'
import { spreadOf, type Spread } from './stats.ts'

/** What the journal does for one run, at so many runs of history: the same calls that the driver makes, timed together. */
const steps = 7
const samples = 200

export async function journalCost(path: string, sizes: number[]): Promise<{ size: number; took: Spread }[]> {
  const { journal, leases, close } = sqlite(path)
  const costs: { size: number; took: Spread }[] = []
  let stored = 0
  for (const size of sizes) {
    for (; stored < size; stored++) {
      await journal.reserve({
        ...record(randomUUID()),
        outcome: 'active',
        endedAtMs: Date.now() - 7_200_000,
        createdAtMs: Date.now() - 7_200_000,
      })
    }
    const took: number[] = []
    for (let i = 0; i < samples; i++) {
      const instance = randomUUID()
      const startedAt = performance.now()
      const sinceMs = Date.now() - 3_600_000
      await journal.tagEpoch(instance, 'snapshot')
      await journal.countOf({ instance }, sinceMs)
      await journal.countOf({ project }, sinceMs)
      let { record: current } = await journal.reserve(record(instance))
      for (let step = 0; step < steps; step++) {
        await journal.find(instance, current.wish.run)
        current = (await journal.save(current)) ?? current
        current = (await journal.save(current)) ?? current
      }
      await journal.overdue(Date.now() - 30_000, 200)
      const lease = await leases.take(`instance/${instance}`, current.wish.run, Date.now(), Date.now() + 1_000)
      if (lease) await leases.save({ ...lease, holder: null })
      await journal.save({ ...current, outcome: 'active', endedAtMs: Date.now() })
      took.push(performance.now() - startedAt)
    }
    stored += samples
    costs.push({ size, took: spreadOf(took) })
  }
  close()
  return costs
}

const project = '13fcaa0fddb64917b16214698f0e086f'

function record(instance: string): RunRecord {
  const now = Date.now()
  const wish: Wish = {
    run: randomUUID(),
    instance,
    project,
    image: randomUUID(),
    imageName: 'bench',
    trigger: { is: 'tag', tag: 'snapshot', epoch: 1 },
    quiesce: 'auto',
    rule: 'tag',
    requestedAtMs: now,
  }
  return {
    wish,
    version: 0,
    createdAtMs: now,
    updatedAtMs: now,
    hop: 1,
    message: { v: messageVersion, step: 'quiesce', wish, hop: 1, tries: 0, sinceMs: now },
    dueAtMs: now,
    claim: null,
    lost: 0,
    undos: [],
    timeline: Array.from({ length: steps }, () => ({
      step: 'quiesce' as const,
      startedAtMs: now,
      endedAtMs: now,
      tries: 1,
      outcome: 'done' as const,
      code: null,
      words: null,
    })),
    progress: null,
    outcome: null,
    code: null,
    reason: null,
    endedAtMs: null,
  }
}
