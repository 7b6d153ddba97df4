import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import type { Guest } from '../../infra/cloud/guests.ts'

/**
 * Sees in the embedded cloud's own database what is gone from it by the end: which takes-over Nova really published, and how long
 * the guests of deleted servers had been frozen. Triggers note it in the transaction that does it, so that no kill comes between.
 */
export interface Witness {
  /** names of the images of every instance.snapshot.start */
  published: () => Set<string>
  goneGuests: () => Guest[]
  close: () => void
}

const schema = `
  CREATE TABLE chaos_published (body TEXT);
  CREATE TRIGGER chaos_publishes AFTER INSERT ON bus WHEN NEW.body LIKE '%instance.snapshot.start%'
    BEGIN INSERT INTO chaos_published VALUES (NEW.body); END;
  CREATE TABLE chaos_guest (body TEXT);
  CREATE TRIGGER chaos_loses_guest AFTER DELETE ON record WHEN OLD.kind = 'guest'
    BEGIN INSERT INTO chaos_guest VALUES (OLD.body); END;
`

export function openWitness(dataDir: string): Witness {
  const database = new DatabaseSync(join(dataDir, 'cloud', 'openstack.db'), { timeout: 10_000 })
  database.exec(schema)
  const bodies = (table: string) =>
    (database.prepare(`SELECT body FROM ${table}`).all() as { body: string }[]).map((row) => row.body)
  return {
    published: () =>
      new Set(
        bodies('chaos_published').flatMap((body) => body.match(/[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}/g) ?? []),
      ),
    goneGuests: () => bodies('chaos_guest').map((body) => JSON.parse(body) as Guest),
    close: () => database.close(),
  }
}
