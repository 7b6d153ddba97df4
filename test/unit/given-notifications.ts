import { ingest } from '../../functions/ingest.ts'
import { takeOverRun } from '../../shared/names.ts'
import type { Server } from '../../shared/ports/compute.ts'
import type { Image } from '../../shared/ports/images.ts'
import type { Parked, RunRecord } from '../../shared/ports/journal.ts'
import { defaultRules } from '../../shared/rules.ts'
import type { Heard, Notification } from '../../shared/run.ts'
import { context, image, instance, leasesOf, nowMs, portsOf, project, server } from './given.ts'

export const novasImage = '56813989-0617-48bf-bca3-9bbe9caca90f'
export const run = takeOverRun(novasImage)

export function heard(event: string, more: Partial<Notification> = {}): Notification {
  const base = { is: 'notification', format: 'versioned', eventType: event, messageId: 'm-1', atMs: nowMs } as const
  return { ...base, event, instance, project, image: null, tags: null, ...more }
}
export const started = (more: Partial<Notification> = {}) =>
  heard('instance.snapshot.start', { image: novasImage, ...more })
export const legacyStarted = (more: Partial<Notification> = {}) =>
  heard('instance.snapshot.start', {
    format: 'legacy',
    eventType: 'compute.instance.snapshot.start',
    messageId: 'm-2',
    ...more,
  })
export const updated = (...tags: string[]) => heard('instance.update', { tags })
export const queued = (more: Partial<Image> = {}) =>
  image({ id: novasImage, name: 'snap', properties: { instance_uuid: instance }, ...more })

export interface Situation {
  server?: Server | null
  image?: Image | null
  ofInstance?: Image[]
  /** images of others under ids that we would choose */
  occupied?: Image[]
  journal?: RunRecord[]
  /** in the journal; what is there is counted when absent */
  count?: { open: number; since: number }
  epoch?: number
  /** what Nova said of the tag before it was asked for the server */
  bears?: boolean
  proves?: 'filesystem' | 'crash'
  claim?: () => Promise<void>
  /** while the server is looked for */
  seeing?: () => Promise<void>
  /** while an image is */
  finding?: () => Promise<void>
}

/** Two worlds: what Nova and Glance show, and a journal in a map that several deliveries share. */
export function inSituation(given: Situation = {}) {
  const records = new Map((given.journal ?? []).map((record) => [record.wish.run, record]))
  const claims: Record<string, string>[] = []
  const parked: Parked[] = []
  const shown = [...(given.image === null ? [] : [given.image ?? queued()]), ...(given.occupied ?? [])]
  const found = given.server === undefined ? server({ tags: ['snapshot'] }) : given.server
  const clock = { ms: nowMs, nowMs: () => clock.ms }
  const { ports, calls } = portsOf({
    guest: { proves: given.proves ?? 'filesystem' },
    leases: leasesOf(),
    compute: {
      async find() {
        await given.seeing?.()
        return found
      },
      async bears(_instance, tag) {
        await given.seeing?.()
        return given.bears ?? found?.tags.includes(tag) ?? false
      },
    },
    images: {
      async find(id) {
        await given.finding?.()
        return shown.find((i) => i.id === id) ?? null
      },
      ofInstance: async (_instance, owner) => (given.ofInstance ?? [queued()]).filter((i) => i.owner === owner),
      claim: async (_id, { properties }) => {
        claims.push(properties)
        await given.claim?.()
      },
    },
    journal: {
      find: async (_instance, id) => records.get(id) ?? null,
      latestOf: async () => [...records.values()].at(-1) ?? null,
      openOf: async () => [...records.values()].filter((record) => record.outcome === null),
      reserve: async (record) => {
        const stored = records.get(record.wish.run)
        if (stored) return { record: stored, isNew: false }
        records.set(record.wish.run, record)
        return { record, isNew: true }
      },
      save: async (record) => {
        records.set(record.wish.run, record)
        return record
      },
      async countOf() {
        const kept = [...records.values()]
        return given.count ?? { open: kept.filter((r) => r.outcome === null).length, since: kept.length }
      },
      tagEpoch: async () => given.epoch ?? 1,
      park: async (entry) => void parked.push(entry),
    },
  })
  const act = (what: Heard, rules = defaultRules, tries = 0) =>
    ingest({ v: 1, step: 'ingest', tries, heard: what }, ports, context({ rules }, clock))
  return { clock, act, calls, claims, parked, records, only: () => [...records.values()][0] }
}

/** A run that an earlier delivery had begun. */
export async function begun(what: Heard, hop: number, more: Partial<RunRecord> = {}): Promise<RunRecord> {
  const situation = inSituation()
  const { begun: first } = await situation.act(what)
  const record = first[0]?.record
  if (!record) throw new Error('nothing was begun')
  return { ...record, hop, ...more }
}
