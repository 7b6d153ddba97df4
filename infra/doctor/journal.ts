import { accessSync, constants, existsSync } from 'node:fs'
import { dirname } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { schemaVersion } from '../../shared/adapters/sqlite.ts'
import type { Site } from './site.ts'
import { fail, ok, type Verdict } from './verdict.ts'

/** Not through the adapter: that would make the file, or bring an older one to today's format. */
export async function journal(site: Site): Promise<Verdict> {
  if (site.isForUp) return ok('RBDSNAP_JOURNAL is not set: `rbdsnap up` keeps its own in RBDSNAP_DATA_DIR')
  const path = site.given('RBDSNAP_JOURNAL').replace(/^sqlite:/, '')
  try {
    if (existsSync(path)) return look(path)
    accessSync(dirname(path), constants.W_OK)
    return ok(`${path} is not there yet and can be made`)
  } catch (error) {
    return fail(
      `${path}: ${(error as Error).message}`,
      'RBDSNAP_JOURNAL must be on a local disk that the functions may write to.',
    )
  }
}

function look(path: string): Verdict {
  const database = new DatabaseSync(path, { timeout: 5_000 })
  try {
    const { user_version: version } = database.prepare('PRAGMA user_version').get() as { user_version: number }
    if (version > schemaVersion)
      return fail(
        `${path} has format ${version}, this rbdsnap has ${schemaVersion}`,
        'Install the newer rbdsnap that wrote it.',
      )
    // a write lock and no write
    database.exec('BEGIN IMMEDIATE; ROLLBACK')
    return ok(`${path}, format ${version}, can be written`)
  } finally {
    database.close()
  }
}
