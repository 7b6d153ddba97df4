import { DatabaseSync, type SQLInputValue, type StatementSync } from 'node:sqlite'
import { Failure } from '../failures.ts'
import type { Journal, Lease, Leases, Parked, RunOutcome, RunRecord } from '../ports/journal.ts'

/**
 * The journal in one SQLite file. Write-ahead log with synchronous=FULL: what `save` has answered survives a power cut
 * (sqlite.org/pragma.html#pragma_synchronous). Several processes and threads share the file; a writer waits for another
 * one up to busyTimeoutMs. Every write is one statement on one row, conditional on its version.
 *
 * The record is kept as JSON; the columns beside it are what is asked for, and each question has its index, so that cost
 * does not grow with history. Where the planner would rather walk a project's whole history, the index is named.
 */
const busyTimeoutMs = 10_000
/** of the file, `PRAGMA user_version` */
export const schemaVersion = 2

const schema = `
  CREATE TABLE IF NOT EXISTS run (
    run TEXT NOT NULL UNIQUE, version INTEGER NOT NULL, instance TEXT NOT NULL, image TEXT NOT NULL,
    project TEXT NOT NULL, tag TEXT, step TEXT, outcome TEXT, created_ms INTEGER NOT NULL,
    due_ms INTEGER, open INTEGER, record TEXT NOT NULL
  ) STRICT;
  CREATE INDEX IF NOT EXISTS run_open ON run (due_ms, instance, project, step) WHERE open = 1;
  CREATE INDEX IF NOT EXISTS run_of_instance ON run (instance, created_ms);
  CREATE INDEX IF NOT EXISTS run_of_project ON run (project, created_ms, outcome);
  CREATE INDEX IF NOT EXISTS run_served ON run (instance, tag) WHERE tag IS NOT NULL AND open IS NULL AND outcome <> 'parked';
  CREATE INDEX IF NOT EXISTS run_created ON run (created_ms);
  CREATE INDEX IF NOT EXISTS run_ended ON run (outcome) WHERE open IS NULL;
  CREATE INDEX IF NOT EXISTS run_image ON run (image);
  CREATE INDEX IF NOT EXISTS run_unsettled ON run (due_ms) WHERE open IS NULL AND due_ms IS NOT NULL;
  CREATE TABLE IF NOT EXISTS lease (
    key TEXT PRIMARY KEY, version INTEGER NOT NULL, frozen INTEGER, record TEXT NOT NULL
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX IF NOT EXISTS lease_frozen ON lease (key) WHERE frozen = 1;
  CREATE TABLE IF NOT EXISTS parked (id TEXT PRIMARY KEY, at_ms INTEGER NOT NULL, record TEXT NOT NULL) STRICT, WITHOUT ROWID;
  CREATE INDEX IF NOT EXISTS parked_at ON parked (at_ms);
`

/** Opens, and makes if it is not there, the journal at `path`. */
export function sqlite(path: string): { journal: Journal; leases: Leases; close: () => void } {
  const database = guarded(path, () => open(path))
  const statements = new Map<string, StatementSync>()
  const prepare = (sql: string) => {
    const known = statements.get(sql) ?? database.prepare(sql)
    statements.set(sql, known)
    return known
  }
  const all = async <T>(sql: string, ...values: SQLInputValue[]) =>
    guarded(path, () => prepare(sql).all(...values) as T[])
  const one = async <T>(sql: string, ...values: SQLInputValue[]) => (await all<T>(sql, ...values))[0]
  const write = async (sql: string, ...values: SQLInputValue[]) =>
    guarded(path, () => Number(prepare(sql).run(...values).changes) === 1)
  const records = async (sql: string, ...values: SQLInputValue[]) =>
    (await all<{ record: string }>(sql, ...values)).map((row) => JSON.parse(row.record) as RunRecord)

  const find = async (instance: string, run: string) =>
    (await records('SELECT record FROM run WHERE run = ? AND instance = ?', run, instance))[0] ?? null

  const journal: Journal = {
    find,
    async reserve(record) {
      const { wish, createdAtMs } = record
      const isNew = await write(
        `INSERT INTO run (run, instance, image, project, tag, created_ms, version, step, outcome, due_ms, open, record)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING`,
        wish.run,
        wish.instance,
        wish.image,
        wish.project,
        wish.trigger.is === 'tag' ? wish.trigger.tag : null,
        createdAtMs,
        ...changing(record),
      )
      if (isNew) return { record, isNew }
      const stored = await find(wish.instance, wish.run)
      if (!stored) throw new Failure('JOURNAL_UNREACHABLE', `${path}: run ${wish.run} is neither new nor there.`)
      return { record: stored, isNew }
    },
    async save(record) {
      const next = { ...record, version: record.version + 1 }
      const isSaved = await write(
        'UPDATE run SET version = ?, step = ?, outcome = ?, due_ms = ?, open = ?, record = ? WHERE run = ? AND version = ?',
        ...changing(next),
        record.wish.run,
        record.version,
      )
      return isSaved ? next : null
    },
    async latestOf(instance) {
      const sql = 'SELECT record FROM run WHERE instance = ? ORDER BY created_ms DESC LIMIT 1'
      return (await records(sql, instance))[0] ?? null
    },
    openOf: (instance) =>
      records('SELECT record FROM run INDEXED BY run_open WHERE open = 1 AND instance = ?', instance),
    overdue: (dueBeforeMs, limit) =>
      records(
        'SELECT record FROM run INDEXED BY run_open WHERE open = 1 AND due_ms < ? ORDER BY due_ms LIMIT ?',
        dueBeforeMs,
        limit,
      ),
    unsettled: (endedBeforeMs, limit) =>
      records(
        `SELECT record FROM run INDEXED BY run_unsettled
         WHERE open IS NULL AND due_ms IS NOT NULL AND due_ms < ? ORDER BY due_ms LIMIT ?`,
        endedBeforeMs,
        limit,
      ),
    list: (limit) => records('SELECT record FROM run ORDER BY created_ms DESC LIMIT ?', limit),
    async byRunOrImage(id) {
      return (
        (
          await records('SELECT record FROM run WHERE run = ?1 OR image = ?1 ORDER BY created_ms DESC LIMIT 1', id)
        )[0] ?? null
      )
    },
    async countOf(by, sinceMs) {
      const [column, value] = 'instance' in by ? ['instance', by.instance] : ['project', by.project]
      const open = await one<{ n: number }>(
        `SELECT count(*) n FROM run INDEXED BY run_open WHERE open = 1 AND ${column} = ?`,
        value,
      )
      const since = await one<{ n: number }>(
        `SELECT count(*) n FROM run WHERE ${column} = ? AND created_ms >= ? AND outcome IS NOT 'rejected'`,
        value,
        sinceMs,
      )
      return { open: open?.n ?? 0, since: since?.n ?? 0 }
    },
    async counts() {
      type Row = { step: string | null; outcome: RunOutcome | null; runs: number; oldestMs: number }
      const open = await all<Row>(
        'SELECT step, NULL outcome, count(*) runs, min(created_ms) oldestMs FROM run INDEXED BY run_open WHERE open = 1 GROUP BY step',
      )
      const ended = await all<Row>(
        'SELECT NULL step, outcome, count(*) runs, 0 oldestMs FROM run INDEXED BY run_ended WHERE open IS NULL GROUP BY outcome',
      )
      return [...open, ...ended]
    },
    async tagEpoch(instance, tag) {
      const row = await one<{ n: number }>(
        "SELECT count(*) n FROM run WHERE instance = ? AND tag = ? AND open IS NULL AND outcome <> 'parked'",
        instance,
        tag,
      )
      return (row?.n ?? 0) + 1
    },
    async park(parked) {
      await write(
        'INSERT INTO parked (id, at_ms, record) VALUES (?, ?, ?) ON CONFLICT DO NOTHING',
        parked.id,
        parked.atMs,
        JSON.stringify(parked),
      )
    },
    async listParked(limit) {
      const rows = await all<{ record: string }>('SELECT record FROM parked ORDER BY at_ms DESC LIMIT ?', limit)
      return rows.map((row) => JSON.parse(row.record) as Parked)
    },
    async findParked(id) {
      const row = await one<{ record: string }>('SELECT record FROM parked WHERE id = ?', id)
      return row ? (JSON.parse(row.record) as Parked) : null
    },
    unpark: (id) => write('DELETE FROM parked WHERE id = ?', id),
  }

  const findLease = async (key: string) => {
    const row = await one<{ record: string }>('SELECT record FROM lease WHERE key = ?', key)
    return row ? (JSON.parse(row.record) as Lease) : null
  }
  const saveLease = async (lease: Lease) => {
    const next = { ...lease, version: lease.version + 1 }
    const isSaved = await write(
      'UPDATE lease SET version = ?, frozen = ?, record = ? WHERE key = ? AND version = ?',
      next.version,
      next.freeze ? 1 : null,
      JSON.stringify(next),
      lease.key,
      lease.version,
    )
    return isSaved ? next : null
  }
  const leases: Leases = {
    find: findLease,
    save: saveLease,
    async take(key, holder, nowMs, untilMs) {
      const stored = await findLease(key)
      if (!stored) {
        const first: Lease = { key, version: 1, holder, epoch: 1, untilMs, freeze: null, thawed: null }
        const isOurs = await write(
          'INSERT INTO lease (key, version, frozen, record) VALUES (?, 1, NULL, ?) ON CONFLICT DO NOTHING',
          key,
          JSON.stringify(first),
        )
        return isOurs ? first : null
      }
      if (stored.holder === holder) return saveLease({ ...stored, untilMs })
      if (stored.holder !== null && stored.untilMs > nowMs) return null
      return saveLease({ ...stored, holder, untilMs, epoch: stored.epoch + 1 })
    },
    async frozen() {
      const rows = await all<{ record: string }>('SELECT record FROM lease WHERE frozen = 1')
      return rows.map((row) => JSON.parse(row.record) as Lease)
    },
  }
  return { journal, leases, close: () => database.close() }
}

function open(path: string): DatabaseSync {
  const database = new DatabaseSync(path, { timeout: busyTimeoutMs })
  database.exec('PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL')
  const row = database.prepare('PRAGMA user_version').get() as { user_version: number }
  if (row.user_version > schemaVersion) {
    throw new Failure('JOURNAL_UNREACHABLE', `${path} was written by a newer rbdsnap (format ${row.user_version}).`)
  }
  if (row.user_version === schemaVersion) return database
  database.exec(`BEGIN IMMEDIATE; ${schema} PRAGMA user_version = ${schemaVersion}; COMMIT`)
  return database
}

/** The columns that a run's progress changes; an index over any other is written once. */
function changing(record: RunRecord): SQLInputValue[] {
  const isOpen = record.outcome === null
  const isUnsettled = !isOpen && record.outcome !== 'parked' && record.undos.length > 0
  return [
    record.version,
    record.message.step,
    record.outcome,
    isOpen ? record.dueAtMs : isUnsettled ? record.endedAtMs : null,
    isOpen ? 1 : null,
    JSON.stringify(record),
  ]
}

function guarded<T>(path: string, act: () => T): T {
  try {
    return act()
  } catch (error) {
    if (error instanceof Failure) throw error
    throw new Failure('JOURNAL_UNREACHABLE', `${path}: ${(error as Error).message}`, { cause: error })
  }
}
