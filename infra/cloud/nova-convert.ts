import { mkdir, open, rm } from 'node:fs/promises'
import { createReadStream } from 'node:fs'
import { join } from 'node:path'
import { randomUUID } from 'node:crypto'
import type { NovaCore } from './nova-core.ts'
import type { Instance } from './nova-instances.ts'

const pieceBytes = 4 << 20

/** `qemu-img convert` of the disk into a raw file in snapshots_directory: sparse, but as long as the disk. */
export async function convertDisk(nova: NovaCore, { disk }: Instance) {
  await mkdir(nova.snapshotsFolder, { recursive: true })
  const path = join(nova.snapshotsFolder, randomUUID().replaceAll('-', ''))
  const cluster = nova.clusters[disk.cluster]
  const { sizeBytes } = cluster.info(disk.pool, disk.image)
  const remove = () => rm(path, { force: true })
  const handle = await open(path, 'w')
  try {
    await nova.phase('convert')
    for (const extent of cluster.allocated(disk.pool, disk.image, null)) {
      const end = extent.offset + extent.length
      for (let offset = extent.offset; offset < end; offset += pieceBytes) {
        const piece = cluster.read(disk.pool, disk.image, null, offset, Math.min(pieceBytes, end - offset))
        await handle.write(piece, 0, piece.length, offset)
      }
    }
    await handle.truncate(sizeBytes)
  } catch (error) {
    await remove()
    throw error
  } finally {
    await handle.close()
  }
  return {
    sizeBytes,
    bytes: () => createReadStream(path, { highWaterMark: pieceBytes }) as AsyncIterable<Uint8Array>,
    remove,
  }
}
