import { accessSync, constants, statfsSync } from 'node:fs'
import { serversOf } from './nova.ts'
import type { Site } from './site.ts'
import { fail, ok, type Verdict, warn } from './verdict.ts'

const gib = 1024 ** 3

/** Only what is converted on its way to Glance is written there; such a snapshot is as large as its disk. */
export async function snapshotsDirectory(site: Site, signal: AbortSignal): Promise<Verdict> {
  const folder = site.given('RBDSNAP_SNAPSHOTS_DIRECTORY')
  if (folder === undefined) return ok('RBDSNAP_SNAPSHOTS_DIRECTORY is not set: nothing is written to a local disk')
  try {
    accessSync(folder, constants.R_OK | constants.W_OK | constants.X_OK)
    const { bavail, bsize } = statfsSync(folder)
    const freeGib = Math.floor((bavail * bsize) / gib)
    // Nova is another check's matter
    const servers = await serversOf(site, signal).catch(() => [])
    const largestGib = Math.max(0, ...servers.map(({ flavor }) => flavor?.disk ?? 0))
    const said = `${folder} has ${freeGib} GiB free; the largest disk looked at has ${largestGib} GiB`
    return freeGib >= largestGib ? ok(said) : warn(said, 'Give RBDSNAP_SNAPSHOTS_DIRECTORY a larger file system.')
  } catch (error) {
    return fail(
      (error as Error).message,
      'RBDSNAP_SNAPSHOTS_DIRECTORY must be a folder that the functions may write to.',
    )
  }
}
