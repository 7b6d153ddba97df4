import { elapsedMs } from './elapsed.ts'
import { show } from './names.ts'
import { policyTag } from './policy-tags.ts'
import type { RunRecord } from './ports/journal.ts'
import { isRunMessage } from './run.ts'

/** A run as people and programs see it: `-f json` of every command, stable keys, ISO times. */
export interface RunView {
  run: string
  instance: string
  project: string
  image_id: string
  image_name: string
  trigger: 'tag' | 'take-over' | 'policy'
  tag: string | null
  rule: string
  state: 'running' | 'ended'
  step: string | null
  outcome: 'active' | 'fallback' | 'nova-did-it' | 'rejected' | 'parked' | 'ignored' | null
  consistency: 'filesystem' | 'crash' | 'offline' | null
  consistency_reason: string | null
  road: 'clone' | 'copy' | 'upload' | null
  reason: string | null
  code: string | null
  frozen_ms: number | null
  usable_ms: number | null
  progress: number | null
  created_at: string
  ended_at: string | null
  /** when the next message is due */
  next_at: string | null
  disk: string | null
  source_snapshot: string | null
  undos: string[]
  steps: {
    step: string
    started_at: string
    took_ms: number | null
    tries: number
    outcome: string
    code: string | null
    words: string | null
  }[]
}

export function view(record: RunRecord): RunView {
  const { wish, message } = record
  const run = isRunMessage(message) ? message : null
  const consistency = run && 'consistency' in run ? run.consistency : null
  const disk = run && 'disk' in run ? run.disk : null
  const isOpen = record.outcome === null
  const why = run && 'why' in run && run.why.length > 0 ? run.why.join('; ') : null
  const place = disk ? { pool: disk.pool, image: disk.image } : null
  const hasImage = record.outcome === null || record.outcome === 'active' || record.outcome === 'fallback'
  return {
    run: wish.run,
    instance: wish.instance,
    project: wish.project,
    image_id: wish.image,
    image_name: wish.imageName,
    trigger: wish.trigger.is,
    tag: tagOf(wish.trigger),
    rule: wish.rule,
    state: isOpen ? 'running' : 'ended',
    step: isOpen ? message.step : null,
    outcome: record.outcome,
    consistency: hasImage ? (consistency?.verdict ?? null) : null,
    consistency_reason: hasImage ? (consistency?.why ?? null) : null,
    road: run && 'road' in run ? run.road : null,
    reason: record.reason ?? why,
    code: record.code,
    frozen_ms: consistency?.frozenMs ?? null,
    usable_ms: hasImage && run && 'usableMs' in run ? run.usableMs : null,
    progress: record.progress,
    created_at: iso(record.createdAtMs),
    ended_at: record.endedAtMs === null ? null : iso(record.endedAtMs),
    // what a person made due again is noted as long overdue, for the sweep's sake (infra/cli/retry.ts)
    next_at: isOpen ? iso(Math.max(record.dueAtMs, record.updatedAtMs)) : null,
    disk: place && disk ? `${show(place)}${disk.cluster === 'home' ? '' : ` (cluster ${disk.cluster})`}` : null,
    source_snapshot: place ? show({ ...place, snap: `rbdsnap-${wish.run}` }) : null,
    undos: record.undos,
    steps: record.timeline.map((s) => ({
      step: s.step,
      started_at: iso(s.startedAtMs),
      took_ms: s.endedAtMs === null ? null : elapsedMs(s.startedAtMs, s.endedAtMs),
      tries: s.tries,
      outcome: s.outcome,
      code: s.code,
      words: s.words,
    })),
  }
}

function tagOf(trigger: RunRecord['wish']['trigger']): string | null {
  if (trigger.is === 'policy') return policyTag(trigger.action)
  return trigger.is === 'tag' ? trigger.tag : null
}

function iso(ms: number): string {
  return new Date(ms).toISOString()
}
