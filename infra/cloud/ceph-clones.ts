import { type Blocks, blocksPerObject, type Layer } from './ceph-blocks.ts'
import type { Catalog, ImageRow } from './ceph-catalog.ts'
import { EEXIST, EINVAL, ENOENT, ENOSYS, RbdError } from './ceph-errors.ts'
import { featureMask, hasFeature } from './ceph-features.ts'
import type { Store } from './ceph-store.ts'

interface Spec {
  pool: string
  image: string
}

/** Called after each object that had data. It may take its time, and what it throws ends the work where it is. */
export type Pace = (done: number, total: number) => void | Promise<void>

/**
 * How far a clone came when its client was killed. All three hold the name, so that a repeat answers 17 (60 kills of a
 * client on Ceph 16.2 left each of them).
 */
export type HalfMade = 'unopenable' | 'no-parent' | 'unknown-child'

export function cloneOperations(store: Store, catalog: Catalog, blocks: Blocks, cloneFormat: 1 | 2) {
  function vacant({ pool, image }: Spec) {
    if (catalog.named(pool, image)) throw new RbdError(EEXIST, `${pool}/${image} exists`)
  }

  function dataObjects(layers: readonly Layer[]): number[] {
    return [...new Set(blocks.present(layers).map((block) => Math.floor(block / blocksPerObject)))]
  }

  /** The snapshots of a child read through the parent too, until deep-flatten gives them what they lack. */
  function missingEpoch(child: ImageRow, block: number): number | null {
    const epochs = blocks.epochs(child.seq, block)
    const oldest = epochs[0]
    if (!hasFeature(child.features, 'deep-flatten')) return oldest === undefined ? catalog.epoch(child.seq) : null
    if (oldest === undefined) return 0
    const isReadThrough = catalog.snapsOf(child).some((snap) => snap.id <= oldest && snap.parent !== null)
    return oldest > 0 && isReadThrough ? 0 : null
  }

  function copyUp(child: ImageRow, parents: readonly Layer[], object: number) {
    const first = object * blocksPerObject
    store.transact(() => {
      for (const [block, place] of blocks.locate(parents, first, first + blocksPerObject)) {
        const epoch = missingEpoch(child, block)
        if (epoch !== null) blocks.put(child.seq, block, epoch, blocks.readBlock(place))
      }
    })
  }

  function isInObjectMap(child: ImageRow, object: number): boolean {
    return store.get('SELECT 1 FROM objectMap WHERE image = ? AND object = ?', child.seq, object) !== undefined
  }

  function cutFromParent(child: ImageRow) {
    store.transact(() => {
      store.run('UPDATE images SET parent = NULL, overlap = 0 WHERE seq = ?', child.seq)
      if (hasFeature(child.features, 'deep-flatten')) {
        store.run('UPDATE snaps SET parent = NULL, overlap = 0 WHERE image = ?', child.seq)
      }
      catalog.releaseParents(child.seq)
    })
  }

  /** Other calls go on between two objects. */
  async function eachObject(objects: readonly number[], pace: Pace | undefined, work: (object: number) => void) {
    for (const [index, object] of objects.entries()) {
      work(object)
      await betweenObjects(pace, index + 1, objects.length)
    }
  }

  async function betweenObjects(pace: Pace | undefined, done: number, total: number) {
    await new Promise((resolve) => setImmediate(resolve))
    await pace?.(done, total)
  }

  return {
    /**
     * Made in librbd's own order: the name, the header, the parent, the parent's list of children. `diesWith` stops on
     * the way.
     */
    clone(source: Spec & { snap: string }, child: Spec, features?: readonly string[], diesWith?: HalfMade) {
      catalog.pool(source.pool)
      catalog.pool(child.pool)
      if (features && !hasFeature(featureMask(features), 'layering'))
        throw new RbdError(ENOSYS, 'cloning image must support layering')
      const parent = catalog.image(source.pool, source.image)
      const snap = catalog.snap(parent, source.snap)
      if (!hasFeature(parent.features, 'layering')) throw new RbdError(ENOSYS, 'parent image must support layering')
      if (cloneFormat === 1 && !snap.isProtected) throw new RbdError(EINVAL, 'parent snapshot must be protected')
      vacant(child)
      const mask = features ? featureMask(features) : parent.features
      const seq = catalog.insertImage(child.pool, child.image, snap.size, mask, 0)
      if (diesWith === 'unopenable') return
      store.run('UPDATE images SET hasHeader = 1 WHERE seq = ?', seq)
      if (diesWith === 'no-parent') return
      store.run('UPDATE images SET parent = ?, overlap = ? WHERE seq = ?', snap.id, snap.size, seq)
      if (diesWith === 'unknown-child') return
      store.run('INSERT INTO children (parent, child, format) VALUES (?, ?, ?)', snap.id, seq, cloneFormat)
    },

    /**
     * Object by object; cut short it keeps its parent and what it has, and the next one goes on from there. With an object map that is
     * not all of it (tracker 68998, mended in 2024): an object is in the map before it is copied, and the next one skips it.
     */
    async flatten(pool: string, image: string, pace?: Pace): Promise<void> {
      const asked = catalog.image(pool, image)
      const { seq, parent } = asked
      if (parent === null) throw new RbdError(EINVAL, `${pool}/${image} has no parent`)
      const parents = catalog.layers(asked, null).slice(1)
      const hasMap = hasFeature(asked.features, 'object-map')
      const letGo = catalog.hold(seq)
      try {
        const objects = dataObjects(parents)
        for (const [index, object] of objects.entries()) {
          if (hasMap && isInObjectMap(asked, object)) continue
          if (hasMap) store.run('INSERT INTO objectMap (image, object) VALUES (?, ?)', seq, object)
          await betweenObjects(pace, index + 1, objects.length)
          const child = catalog.row(seq)
          if (!child) throw new RbdError(ENOENT, `${pool}/${image} is gone`)
          if (child.parent === parent) copyUp(child, parents, object)
        }
        const child = catalog.row(seq)
        if (child?.parent === parent) cutFromParent(child)
      } finally {
        letGo()
      }
    },

    /** A full image without a parent. Cut short, it is there with its right size and a part of the data. */
    async copy(
      source: Spec & { snap: string | null },
      target: Spec,
      pace?: Pace,
      features?: readonly string[],
    ): Promise<void> {
      const from = catalog.image(source.pool, source.image)
      const snap = source.snap === null ? null : catalog.snap(from, source.snap)
      vacant(target)
      const mask = features ? featureMask(features) : from.features
      const seq = catalog.insertImage(target.pool, target.image, snap?.size ?? from.size, mask, 1)
      const layers = catalog.layers(from, snap)
      const letGo = [catalog.hold(seq), catalog.hold(from.seq)]
      try {
        await eachObject(dataObjects(layers), pace, (object) => {
          const first = object * blocksPerObject
          store.transact(() => {
            for (const [block, place] of blocks.locate(layers, first, first + blocksPerObject)) {
              blocks.put(seq, block, 0, blocks.readBlock(place))
            }
          })
        })
      } finally {
        for (const release of letGo) release()
      }
    },
  }
}
