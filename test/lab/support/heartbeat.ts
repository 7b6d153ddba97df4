import { execFile } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import type { Lab } from '../../../infra/lab/lab.ts'

/** What the guest had written when the bytes were taken: it counts, twice a second, and syncs. */
export interface Data {
  heartbeat: number
  /** no journal to replay: the file system was frozen, or unmounted, at that instant */
  isClean: boolean
}

const run = promisify(execFile)

/** Reads the guest's data partition out of RBD. @param from pool/image or pool/image@snap */
export async function dataOf({ ceph: { conf } }: Pick<Lab, 'ceph'>, from: string): Promise<Data> {
  const folder = mkdtempSync(join(tmpdir(), 'rbdsnap-disk-'))
  try {
    const disk = join(folder, 'disk.raw')
    await run('qemu-img', ['convert', '-U', '-f', 'raw', '-O', 'raw', `rbd:${from}:conf=${conf}:id=admin`, disk])
    const data = await lastPartitionOf(disk, folder)
    const features = (await run('debugfs', ['-R', 'features', data])).stdout
    // A live file system keeps its latest changes in its journal: what a mount would replay is replayed here.
    await run('e2fsck', ['-p', data]).catch(mended)
    const { stdout } = await run('debugfs', ['-R', 'cat /heartbeat', data])
    const count = Number.parseInt(stdout, 10)
    if (Number.isNaN(count)) throw new Error(`no heartbeat in ${from}: ${JSON.stringify(stdout.slice(0, 80))}`)
    return { heartbeat: count, isClean: !features.includes('needs_recovery') }
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

/** In a file of its own: e2fsck loses an offset when it opens the device again after the replay (e2fsprogs 1.47). */
async function lastPartitionOf(disk: string, folder: string): Promise<string> {
  const { partitiontable } = JSON.parse((await run('sfdisk', ['--json', disk])).stdout) as {
    partitiontable: { sectorsize?: number; partitions: { start: number; size: number }[] }
  }
  const sectorBytes = partitiontable.sectorsize ?? 512
  const last = partitiontable.partitions.at(-1)
  if (!last) throw new Error(`${disk} has no partition`)
  const data = join(folder, 'data.raw')
  const [skip, count] = [last.start * sectorBytes, last.size * sectorBytes]
  const part = [`if=${disk}`, `of=${data}`, `skip=${skip}`, `count=${count}`, 'iflag=skip_bytes,count_bytes']
  await run('dd', [...part, 'bs=1M', 'conv=sparse', 'status=none'])
  return data
}

/** e2fsck ends with 1 when it replayed or mended something. */
function mended(error: unknown): void {
  if ((error as { code?: unknown }).code !== 1) throw error
}

/** The heartbeat that a guest found on its disk when it booted, as it says on its console. */
export function heartbeatFound(console: string): number | null {
  const found = /LAB-GUEST booted .*previous heartbeat: (?<count>\d+)/.exec(console)?.groups?.['count']
  return found === undefined ? null : Number(found)
}
