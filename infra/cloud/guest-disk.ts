import type { Cluster } from './cluster.ts'
import type { Disk } from './nova-instances.ts'

/** A guest writes its heartbeat here: the record first, the same record as its commit a moment later, as a journal would. */
const places = { record: 1 << 20, commit: (1 << 20) + 4096 }
const blockBytes = 512

export interface Beat {
  beat: number
  atMs: number
  /** what the guest's file system says of itself */
  fs: 'mounted' | 'frozen'
}

/** What the bytes of a disk, or of a snapshot of it, tell about the guest at that instant. */
export interface Evidence {
  beat: number | null
  isFrozen: boolean
  /** a record without its commit: the write was cut in the middle */
  isTorn: boolean
}

type Clusters = Record<Disk['cluster'], Cluster>

export function writeBeat(clusters: Clusters, disk: Disk, place: keyof typeof places, beat: Beat): void {
  const block = Buffer.alloc(blockBytes)
  block.write(JSON.stringify(beat))
  clusters[disk.cluster].write(disk.pool, disk.image, places[place], block)
}

export function evidence(cluster: Cluster, pool: string, image: string, snap: string | null): Evidence {
  const read = (place: keyof typeof places): Beat | null => {
    const text = Buffer.from(cluster.read(pool, image, snap, places[place], blockBytes)).toString()
    const end = text.indexOf('\0')
    const found = text.slice(0, end < 0 ? undefined : end)
    return found.startsWith('{') ? (JSON.parse(found) as Beat) : null
  }
  const record = read('record')
  const commit = read('commit')
  return {
    beat: commit?.beat ?? null,
    isFrozen: record?.fs === 'frozen' && commit?.fs === 'frozen',
    isTorn: record?.beat !== commit?.beat,
  }
}
