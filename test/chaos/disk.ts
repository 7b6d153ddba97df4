import { spawnSync } from 'node:child_process'
import { closeSync, mkdirSync, openSync, rmSync, writeSync } from 'node:fs'
import { join } from 'node:path'

/** The journal's own small disk, which can be filled and freed: a tmpfs, which takes root. */
export interface JournalDisk {
  folder: string
  /** why it cannot be full; null when it can */
  isNever: string | null
  fill: () => void
  free: () => void
  close: () => void
}

const sizeMib = 256

export function openJournalDisk(folder: string): JournalDisk {
  mkdirSync(folder, { recursive: true })
  const mounted = spawnSync('mount', ['-t', 'tmpfs', '-o', `size=${sizeMib}m`, 'tmpfs', folder], { encoding: 'utf8' })
  const isNever =
    mounted.status === 0 ? null : `no tmpfs could be mounted: ${mounted.stderr || 'no mount command'}`.trim()
  const filling = join(folder, 'filling')
  return {
    folder,
    isNever,
    fill() {
      if (isNever !== null) return
      const file = openSync(filling, 'w')
      const block = Buffer.alloc(1 << 20)
      try {
        for (;;) writeToTheLast(file, block)
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'ENOSPC') throw error
      } finally {
        closeSync(file)
      }
    },
    free: () => rmSync(filling, { force: true }),
    close() {
      if (isNever === null) spawnSync('umount', ['-l', folder])
    },
  }
}

/** A short write is the disk's last room. */
function writeToTheLast(file: number, block: Buffer): void {
  if (writeSync(file, block) < block.length) while (writeSync(file, block, 0, 4096) > 0);
}
