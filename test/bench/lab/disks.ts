import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { bootOnClone, bootOnOrphanedFlatDisk } from '../../lab/support/disks.ts'
import { guestWrites } from '../../lab/support/console.ts'
import type { Story } from '../../lab/support/story.ts'

const run = promisify(execFile)
const mebibyte = 1024 * 1024
/** behind the guest's own partitions (infra/lab/guest) */
const firstFreeByte = 128 * mebibyte
/** qemu-io writes less than 2 GiB at once */
const largestWriteBytes = 1024 * mebibyte

export interface DiskShape {
  label: string
  flavor: string
  dataBytes: number
}

/** A disk that Nova could snapshot directly, or one with which it must take the long way; as much data on either. */
export async function bootWithData(story: Story, shape: DiskShape, kind: 'clone' | 'orphaned-flat'): Promise<string> {
  const boot = kind === 'clone' ? bootOnClone : bootOnOrphanedFlatDisk
  const server = await boot(story, `bench-${shape.label}-${kind}`, shape.flavor)
  await story.servers.act(server, { 'os-stop': null })
  await story.servers.untilStatus(server, 'SHUTOFF')
  await fill(story, server, shape.dataBytes)
  await story.servers.act(server, { 'os-start': null })
  await story.servers.untilStatus(server, 'ACTIVE')
  await story.servers.untilConsoleSays(server, guestWrites)
  return server
}

/** Bytes that are not zero, so that neither Ceph nor qemu-img leaves them out. */
async function fill({ lab }: Story, server: string, dataBytes: number): Promise<void> {
  const { conf, pools } = lab.ceph
  const disk = `rbd:${pools.disks}/${server}_disk:conf=${conf}:id=admin`
  for (let written = 0; written < dataBytes; written += largestWriteBytes) {
    const count = Math.min(largestWriteBytes, dataBytes - written)
    const write = `write -P ${1 + (written / largestWriteBytes) * 7} ${firstFreeByte + written} ${count}`
    await run('qemu-io', ['-f', 'raw', '-t', 'writeback', '-c', write, '-c', 'flush', disk])
  }
}
