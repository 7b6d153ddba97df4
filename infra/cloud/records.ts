import { DatabaseSync } from 'node:sqlite'

/** One kind of thing that an embedded service keeps. What `put` has returned from survives kill -9 of the process. */
export interface Table<T> {
  get(id: string): T | undefined
  put(id: string, value: T): void
  remove(id: string): void
  all(): T[]
}

export function openRecords(file: string) {
  const db = new DatabaseSync(file)
  // NORMAL with WAL keeps every commit when the process dies; only a power cut may take the last ones
  db.exec('PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL')
  db.exec('CREATE TABLE IF NOT EXISTS record (kind TEXT, id TEXT, body TEXT, PRIMARY KEY (kind, id)) WITHOUT ROWID')
  const get = db.prepare('SELECT body FROM record WHERE kind = ? AND id = ?')
  const put = db.prepare('INSERT OR REPLACE INTO record (kind, id, body) VALUES (?, ?, ?)')
  const remove = db.prepare('DELETE FROM record WHERE kind = ? AND id = ?')
  const all = db.prepare('SELECT body FROM record WHERE kind = ? ORDER BY id')
  const parse = <T>(row: Record<string, unknown>) => JSON.parse(row['body'] as string) as T
  return {
    db,
    table: <T>(kind: string): Table<T> => ({
      get(id) {
        const row = get.get(kind, id)
        return row && parse<T>(row)
      },
      put: (id, value) => void put.run(kind, id, JSON.stringify(value)),
      remove: (id) => void remove.run(kind, id),
      all: () => all.all(kind).map((row) => parse<T>(row)),
    }),
    close: () => db.close(),
  }
}
export type Records = ReturnType<typeof openRecords>
