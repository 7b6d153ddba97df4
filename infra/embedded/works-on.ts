import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Failure } from '../../shared/failures.ts'

/**
 * A journal says what may be removed from one cloud. Run over another one, where nothing of what it names exists, it would end
 * its runs and forget what they made. So the data folder remembers whose it is: the embedded cloud's, or a Ceph cluster's.
 */
const embedded = 'the embedded cloud'

/** @param fsid of the site's Ceph cluster; null for the embedded cloud. @throws Failure BAD_REQUEST when the folder is another cloud's */
export function belongsTo(dataDir: string, fsid: string | null): void {
  const path = join(dataDir, 'works-on')
  const now = fsid === null ? embedded : `the cloud with the Ceph cluster ${fsid}`
  const before = existsSync(path) ? readFileSync(path, 'utf8') : existsSync(join(dataDir, 'cloud')) ? embedded : now
  if (before !== now)
    throw new Failure('BAD_REQUEST', `${dataDir} keeps the journal of ${before}; ${now} needs another folder.`)
  writeFileSync(path, now)
}
