import { createHash } from 'node:crypto'
import { type Blocks, blockBytes, blocksPerObject, objectBytes, zeroBlock } from './ceph-blocks.ts'
import type { Catalog } from './ceph-catalog.ts'
import { EINVAL, RbdError } from './ceph-errors.ts'
import type { Store } from './ceph-store.ts'

interface Extent {
  offset: number
  length: number
}

export function dataOperations(store: Store, catalog: Catalog, blocks: Blocks) {
  function view(pool: string, image: string, snapName: string | null) {
    const row = catalog.image(pool, image)
    const snap = snapName === null ? null : catalog.snap(row, snapName)
    return { layers: catalog.layers(row, snap), sizeBytes: snap?.size ?? row.size }
  }

  function inside(offset: number, length: number, sizeBytes: number) {
    if (offset < 0 || offset + length > sizeBytes) throw new RbdError(EINVAL, 'beyond the end of the image')
  }

  return {
    write(pool: string, image: string, offset: number, bytes: Uint8Array) {
      const row = catalog.image(pool, image)
      inside(offset, bytes.length, row.size)
      store.transact(() => blocks.write(row.seq, catalog.epoch(row.seq), catalog.layers(row, null), offset, bytes))
    },

    /** Holes are zeros; what the image lacks is read through its parents. */
    read(pool: string, image: string, snap: string | null, offset: number, length: number): Uint8Array {
      const { layers, sizeBytes } = view(pool, image, snap)
      inside(offset, length, sizeBytes)
      return blocks.read(layers, offset, length)
    },

    /** The same, but null for a range that has no data at all. */
    readOrHole(pool: string, image: string, snap: string | null, offset: number, length: number): Uint8Array | null {
      const { layers, sizeBytes } = view(pool, image, snap)
      inside(offset, length, sizeBytes)
      const end = Math.ceil((offset + length) / blockBytes)
      const isHole = blocks.locate(layers, Math.floor(offset / blockBytes), end).size === 0
      return isHole ? null : blocks.read(layers, offset, length)
    },

    /** Where there is data, the parents' included, in order and merged. */
    allocated(pool: string, image: string, snap: string | null): Extent[] {
      const { layers, sizeBytes } = view(pool, image, snap)
      const extents: Extent[] = []
      for (const block of blocks.present(layers)) {
        const offset = block * blockBytes
        const length = Math.min(blockBytes, sizeBytes - offset)
        const last = extents.at(-1)
        if (last && last.offset + last.length === offset) last.length += length
        else extents.push({ offset, length })
      }
      return extents
    },

    /** What fast-diff counts for the image alone: whole objects of its own, changed since the snapshot before. */
    usedBytes(pool: string, image: string, snap: string | null): number {
      const row = catalog.image(pool, image)
      const below = snap === null ? Number.MAX_SAFE_INTEGER : catalog.snap(row, snap).id
      const since = Math.max(
        0,
        ...catalog
          .snapsOf(row)
          .filter((other) => other.id < below)
          .map((other) => other.id),
      )
      const sql = `SELECT COUNT(DISTINCT block / ${blocksPerObject}) AS many FROM blocks WHERE image = ? AND epoch >= ? AND epoch < ?`
      const objects = store.get<{ many: number }>(sql, row.seq, since, below)?.many ?? 0
      return Math.min(objects * objectBytes, row.size)
    },

    /**
     * Of the size and of every block that is not all zeros: a hole and written zeros are the same, and holes cost
     * nothing.
     */
    fingerprint(pool: string, image: string, snap: string | null): string {
      const { layers, sizeBytes } = view(pool, image, snap)
      const hash = createHash('sha256').update(`${sizeBytes}`)
      for (const block of blocks.present(layers)) {
        const place = blocks.locate(layers, block, block + 1).get(block)
        if (!place) continue
        const bytes = blocks.readBlock(place)
        if (!bytes.equals(zeroBlock)) hash.update(`\n${block}\n`).update(bytes)
      }
      return hash.digest('hex')
    },
  }
}
