import { Failure } from './failures.ts'
import { show } from './names.ts'
import type { Server } from './ports/compute.ts'
import type { Disk } from './run.ts'
import { clusterOf, type Context, type Ports } from './step.ts'

/**
 * Nova, told to delete an instance while our snapshot was on its disk, tries for about a minute, reports success and leaves the
 * disk (nova/storage/rbd_utils.py _destroy_volume: 12 tries, 5 s apart). Only then, with Nova saying that the server is gone and
 * nothing left on the disk, is it ours to remove: our snapshot was what kept it.
 */
const novaTriesForMs = 120_000

/** While Nova is still at it, it may yet remove the disk itself, or give it up after we looked. */
export function mayStillBeRemoved(server: Server | null, sinceMs: number, nowMs: number): boolean {
  return server?.taskState === 'deleting' && nowMs - sinceMs < novaTriesForMs
}

/** What was done about it, in words for the run; null when there is nothing to do. */
export async function dropAbandonedDisk(
  disk: Disk,
  ports: Pick<Ports, 'clusters'>,
  ctx: Context,
): Promise<string | null> {
  const volumes = clusterOf(disk, ports)
  const state = await volumes.find(disk, ctx.signal)
  if (!state || state.snaps.length > 0 || state.sizeBytes !== disk.sizeBytes) return null
  const name = show({ pool: disk.pool, image: disk.image })
  try {
    await volumes.ensureAbsent(disk, [], ctx.signal)
  } catch (error) {
    if (!(error instanceof Failure) || error.code !== 'CEPH_BUSY') throw error
    return `the instance was deleted meanwhile; its disk ${name} is still in use and was left`
  }
  return `the instance was deleted meanwhile and Nova had left ${name} behind; it was removed`
}
