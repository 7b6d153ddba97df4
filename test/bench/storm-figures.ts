import type { RunRecord } from '../../shared/ports/journal.ts'
import { view } from '../../shared/view.ts'
import { largeProject } from './storm-scene.ts'

/** From the runs of a storm, as the journal has them at its end, to its figures. Pure. */
export interface Figures {
  outcomes: Record<string, number>
  verdicts: Record<string, number>
  /** from asking Nova to an active image, which is what a tenant waits for */
  usableMs: number[]
  usableMsOfSmall: number[]
  usableMsOfLarge: number[]
  runsPerMinute: number
  /** images of the clone road that became active in a minute while an upload was under way, and while none was */
  clonesPerMinute: { besideUploads: number; otherwise: number }
  uploads: number
}

export function figuresOf(runs: RunRecord[], askedAtMs: Map<string, number>): Figures {
  const usable = runs.flatMap((record) => {
    const { usable_ms, road } = view(record)
    const askedMs = askedAtMs.get(record.wish.instance)
    if (usable_ms === null || askedMs === undefined) return []
    const atMs = record.wish.requestedAtMs + usable_ms
    return [{ atMs, tookMs: Math.max(0, atMs - askedMs), road, project: record.wish.project }]
  })
  const startMs = Math.min(...askedAtMs.values())
  const endMs = Math.max(...runs.map((r) => r.endedAtMs ?? r.updatedAtMs))
  const spans = uploadSpans(runs)
  const clones = usable.filter((u) => u.road === 'clone').map((u) => u.atMs)
  const lastMs = Math.max(startMs, ...clones)
  const besideMs = spans.reduce((sum, s) => sum + Math.max(0, Math.min(s.endMs, lastMs) - s.startMs), 0)
  const beside = clones.filter((atMs) => spans.some((s) => s.startMs <= atMs && atMs < s.endMs)).length
  const took = (isOf: (project: string) => boolean) => usable.filter((u) => isOf(u.project)).map((u) => u.tookMs)
  return {
    outcomes: countBy(runs.map((r) => r.outcome ?? `open at ${r.message.step}`)),
    verdicts: countBy(runs.flatMap((r) => view(r).consistency ?? [])),
    usableMs: took(() => true),
    usableMsOfSmall: took((project) => project !== largeProject),
    usableMsOfLarge: took((project) => project === largeProject),
    runsPerMinute: perMinute(runs.length, endMs - startMs),
    clonesPerMinute: {
      besideUploads: perMinute(beside, besideMs),
      otherwise: perMinute(clones.length - beside, lastMs - startMs - besideMs),
    },
    uploads: usable.filter((u) => u.road === 'upload').length,
  }
}

interface Span {
  startMs: number
  endMs: number
}

/** When one or more uploads were under way. */
function uploadSpans(runs: RunRecord[]): Span[] {
  const spans = runs
    .filter((r) => view(r).road === 'upload')
    .flatMap((r) => r.timeline)
    .filter((s) => s.step === 'fallback' && s.endedAtMs !== null)
    .map((s): Span => ({ startMs: s.startedAtMs, endMs: s.endedAtMs ?? s.startedAtMs }))
    .sort((a, b) => a.startMs - b.startMs)
  const merged: Span[] = []
  for (const span of spans) {
    const last = merged.at(-1)
    if (last && span.startMs <= last.endMs) last.endMs = Math.max(last.endMs, span.endMs)
    else merged.push({ ...span })
  }
  return merged
}

const perMinute = (count: number, ms: number) => (ms <= 0 ? 0 : Math.round((count / ms) * 60_000))

function countBy(names: string[]): Record<string, number> {
  const counts: Record<string, number> = {}
  for (const name of names) counts[name] = (counts[name] ?? 0) + 1
  return counts
}
