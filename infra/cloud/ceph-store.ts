import { DatabaseSync, type SQLInputValue, type StatementSync } from 'node:sqlite'

/**
 * One SQLite file. WAL with synchronous=NORMAL loses nothing when the process is killed, which is all that is promised
 * here; losing power is another matter.
 */
export function openStore(file: string, schema: string) {
  const db = new DatabaseSync(file)
  db.exec('PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA busy_timeout=5000')
  db.exec(schema)
  const prepared = new Map<string, StatementSync>()
  let depth = 0

  function statement(sql: string): StatementSync {
    const known = prepared.get(sql)
    if (known) return known
    const made = db.prepare(sql)
    prepared.set(sql, made)
    return made
  }

  return {
    all: <Row>(sql: string, ...values: SQLInputValue[]) => statement(sql).all(...values) as unknown as Row[],
    get: <Row>(sql: string, ...values: SQLInputValue[]) => statement(sql).get(...values) as unknown as Row | undefined,
    run: (sql: string, ...values: SQLInputValue[]) => Number(statement(sql).run(...values).lastInsertRowid),

    /** All or nothing; inside another transaction it is a part of that one. */
    transact<T>(work: () => T): T {
      if (depth > 0) return work()
      db.exec('BEGIN IMMEDIATE')
      depth = 1
      try {
        const result = work()
        db.exec('COMMIT')
        return result
      } catch (error) {
        db.exec('ROLLBACK')
        throw error
      } finally {
        depth = 0
      }
    },
    close: () => db.close(),
  }
}
export type Store = ReturnType<typeof openStore>
