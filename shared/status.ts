import type { Journal, Leases } from './ports/journal.ts'

/** `ceph -s` for snapshots: a health word, each reason with its code, then what is going on. */
export interface Status {
  health: 'HEALTH_OK' | 'HEALTH_WARN' | 'HEALTH_ERR'
  checks: { code: string; severity: 'warn' | 'error'; summary: string }[]
  runs: { open: number; by_step: Record<string, number>; ended: Record<string, number> }
  frozen: { instance: string; for_ms: number }[]
  parked: { id: string; at: string; code: string; words: string }[]
  at: string
}

const slowAfterMs = 3_600_000
const parkedShown = 20

export async function statusOf(
  journal: Journal,
  leases: Leases,
  nowMs: number,
  freezeBudgetMs: number,
): Promise<Status> {
  const [counts, frozen, parked] = await Promise.all([
    journal.counts(),
    leases.frozen(),
    journal.listParked(parkedShown),
  ])
  const byStep = Object.fromEntries(counts.flatMap((c) => (c.outcome === null ? [[c.step ?? 'ingest', c.runs]] : [])))
  const ended = Object.fromEntries(counts.flatMap((c) => (c.outcome === null ? [] : [[c.outcome, c.runs]])))
  const open = counts.filter((c) => c.outcome === null)
  const freezes = frozen.flatMap((l) =>
    l.freeze ? [{ instance: l.key.replace(/^instance\//, ''), for_ms: nowMs - l.freeze.askedAtMs }] : [],
  )
  const overdue = freezes.filter((f) => f.for_ms > freezeBudgetMs + 2_000)
  const slow = open.filter((c) => nowMs - c.oldestMs > slowAfterMs)
  const parkedRuns = ended['parked'] ?? 0
  const checks: Status['checks'] = []
  if (overdue.length > 0) {
    checks.push({
      code: 'FREEZE_OVERDUE',
      severity: 'error',
      summary: `${overdue.length} guests frozen beyond the budget`,
    })
  }
  if (parkedRuns > 0)
    checks.push({ code: 'RUNS_PARKED', severity: 'warn', summary: `${parkedRuns} runs wait for a person` })
  if (parked.length > 0) {
    const many = parked.length === parkedShown ? `${parkedShown} or more` : String(parked.length)
    checks.push({ code: 'MESSAGES_PARKED', severity: 'warn', summary: `${many} messages could not be read` })
  }
  for (const { step } of slow) {
    checks.push({ code: 'RUNS_SLOW', severity: 'warn', summary: `runs in ${step ?? 'ingest'} are older than an hour` })
  }
  return {
    health: checks.some((c) => c.severity === 'error') ? 'HEALTH_ERR' : checks.length > 0 ? 'HEALTH_WARN' : 'HEALTH_OK',
    checks,
    runs: { open: open.reduce((sum, c) => sum + c.runs, 0), by_step: byStep, ended },
    frozen: freezes,
    parked: parked.map((p) => ({ id: p.id, at: new Date(p.atMs).toISOString(), code: p.code, words: p.words })),
    at: new Date(nowMs).toISOString(),
  }
}
