import type { Journal, Lease, Leases, Parked, RunRecord } from '../../shared/ports/journal.ts'

/** The journal in memory: what goes in and comes out are copies, as of a database. */
export interface FakeJournal {
  journal: Journal
  leases: Leases
  runs: () => RunRecord[]
  parked: () => Parked[]
  leaseOf: (key: string) => Lease | undefined
  /** when the first of the runs ended that are to be looked at once more */
  unsettledSinceMs: () => number | null
}

export function fakeJournal(): FakeJournal {
  const runs = new Map<string, RunRecord>()
  const leases = new Map<string, Lease>()
  const parked = new Map<string, Parked>()
  const copy = <T>(value: T): T => structuredClone(value)
  const keyOf = ({ wish }: RunRecord) => `${wish.instance}/${wish.run}`
  const isOpen = (r: RunRecord) => r.outcome === null
  const isUnsettled = (r: RunRecord) => !isOpen(r) && r.outcome !== 'parked' && r.undos.length > 0
  const endOf = (r: RunRecord) => r.endedAtMs ?? 0
  const newestFirst = (a: RunRecord, b: RunRecord) => b.createdAtMs - a.createdAtMs
  const where = (test: (r: RunRecord) => boolean) => [...runs.values()].filter(test)

  const journal: Journal = {
    async reserve(record) {
      const stored = runs.get(keyOf(record))
      if (stored) return { record: copy(stored), isNew: false }
      runs.set(keyOf(record), copy(record))
      return { record, isNew: true }
    },
    find: async (instance, run) => copy(runs.get(`${instance}/${run}`) ?? null),
    async save(record) {
      if (runs.get(keyOf(record))?.version !== record.version) return null
      const next = copy({ ...record, version: record.version + 1 })
      runs.set(keyOf(record), next)
      return copy(next)
    },
    openOf: async (instance) => copy(where((r) => isOpen(r) && r.wish.instance === instance)),
    overdue: async (beforeMs, limit) =>
      copy(
        where((r) => isOpen(r) && r.dueAtMs < beforeMs)
          .sort((a, b) => a.dueAtMs - b.dueAtMs)
          .slice(0, limit),
      ),
    unsettled: async (beforeMs, limit) =>
      copy(
        where((r) => isUnsettled(r) && endOf(r) < beforeMs)
          .sort((a, b) => endOf(a) - endOf(b))
          .slice(0, limit),
      ),
    list: async (limit) => copy([...runs.values()].sort(newestFirst).slice(0, limit)),
    byRunOrImage: async (id) =>
      copy(where((r) => r.wish.run === id || r.wish.image === id).sort(newestFirst)[0] ?? null),
    async countOf(by, sinceMs) {
      const of = where((r) => ('instance' in by ? r.wish.instance === by.instance : r.wish.project === by.project))
      const since = of.filter((r) => r.createdAtMs >= sinceMs && r.outcome !== 'rejected')
      return { open: of.filter(isOpen).length, since: since.length }
    },
    async counts() {
      const groups = Map.groupBy(runs.values(), (r) => (isOpen(r) ? `step ${r.message.step}` : `outcome ${r.outcome}`))
      return [...groups.values()].flatMap((of) => {
        const first = of[0]
        if (!first) return []
        const step = isOpen(first) ? first.message.step : null
        return [{ step, outcome: first.outcome, runs: of.length, oldestMs: Math.min(...of.map((r) => r.createdAtMs)) }]
      })
    },
    latestOf: async (instance) =>
      copy(where((r) => r.wish.instance === instance).sort((a, b) => b.createdAtMs - a.createdAtMs)[0] ?? null),
    async tagEpoch(instance, tag) {
      const isServed = ({ wish, outcome }: RunRecord) =>
        wish.instance === instance &&
        wish.trigger.is === 'tag' &&
        wish.trigger.tag === tag &&
        outcome !== null &&
        outcome !== 'parked'
      return where(isServed).length + 1
    },
    async park(entry) {
      if (!parked.has(entry.id)) parked.set(entry.id, copy(entry))
    },
    listParked: async (limit) => copy([...parked.values()].sort((a, b) => b.atMs - a.atMs).slice(0, limit)),
    findParked: async (id) => copy(parked.get(id) ?? null),
    unpark: async (id) => parked.delete(id),
  }

  const saveLease = async (lease: Lease): Promise<Lease | null> => {
    if (leases.get(lease.key)?.version !== lease.version) return null
    const next = copy({ ...lease, version: lease.version + 1 })
    leases.set(lease.key, next)
    return copy(next)
  }
  return {
    journal,
    leases: {
      find: async (key) => copy(leases.get(key) ?? null),
      save: saveLease,
      async take(key, holder, nowMs, untilMs) {
        const stored = leases.get(key)
        if (!stored) {
          const first: Lease = { key, version: 1, holder, epoch: 1, untilMs, freeze: null, thawed: null }
          leases.set(key, first)
          return copy(first)
        }
        if (stored.holder === holder) return saveLease({ ...stored, untilMs })
        if (stored.holder !== null && stored.untilMs > nowMs) return null
        return saveLease({ ...stored, holder, untilMs, epoch: stored.epoch + 1 })
      },
      frozen: async () => copy([...leases.values()].filter((l) => l.freeze !== null)),
    },
    runs: () => [...runs.values()],
    parked: () => [...parked.values()],
    leaseOf: (key) => leases.get(key),
    unsettledSinceMs: () => where(isUnsettled).reduce<number | null>((t, r) => Math.min(t ?? Infinity, endOf(r)), null),
  }
}
