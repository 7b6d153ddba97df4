import type { Blocks } from './ceph-blocks.ts'
import type { Catalog, ImageRow, SnapRow } from './ceph-catalog.ts'
import { EBUSY, EEXIST, ENOENT, ENOTEMPTY, EPERM, RbdError } from './ceph-errors.ts'
import { defaultFeatures, featureMask, featureNames } from './ceph-features.ts'
import type { Store } from './ceph-store.ts'

interface SnapInfo {
  id: number
  name: string
  isProtected: boolean
  /** those that are not in the trash */
  children: { pool: string; image: string }[]
  /** and those that are */
  allChildren: { pool: string; image: string; id: string; isInTrash: boolean }[]
  sizeBytes: number
  createdAtMs: number
}
export interface ImageInfo {
  pool: string
  name: string
  id: string
  sizeBytes: number
  features: string[]
  parent: { pool: string; image: string; snap: string; id: string; isInTrash: boolean; overlapBytes: number } | null
  snaps: SnapInfo[]
  /** in the trash namespace: removed while clones of format 2 hang on them; their names are UUIDs */
  trashedSnaps: SnapInfo[]
  watchers: number
  createdAtMs: number
}
export interface TrashEntry {
  id: string
  name: string
  deletedAtMs: number
  /** before it, only `force` removes the image */
  keptUntilMs: number
}

export function imageOperations(store: Store, catalog: Catalog, blocks: Blocks) {
  function snapInfo(snap: SnapRow): SnapInfo {
    const allChildren = catalog.children(snap).map(({ image: { pool, name, id, trashedMs } }) => {
      return { pool, image: name, id, isInTrash: trashedMs !== null }
    })
    return {
      id: snap.id,
      name: snap.name,
      isProtected: snap.isProtected === 1,
      children: allChildren.filter((child) => !child.isInTrash).map(({ pool, image }) => ({ pool, image })),
      allChildren,
      sizeBytes: snap.size,
      createdAtMs: snap.createdMs,
    }
  }

  function parentOf(row: ImageRow): ImageInfo['parent'] {
    const snap = row.parent === null ? undefined : catalog.snapRow(row.parent)
    const image = snap && catalog.row(snap.image)
    if (!image) return null
    const { pool, name, id, trashedMs } = image
    return { pool, image: name, snap: snap.name, id, isInTrash: trashedMs !== null, overlapBytes: row.overlap }
  }

  /** Ceph shows a parent or a child of clone format 2 with the feature `operations`. */
  function hasFormat2(row: ImageRow): boolean {
    const sql = `SELECT 1 FROM children WHERE format = 2 AND (child = ?1 OR parent IN (SELECT id FROM snaps WHERE image = ?1)) LIMIT 1`
    return store.get(sql, row.seq) !== undefined
  }

  /**
   * rbd_remove: refuses snapshots first, then watchers, so what is refused is untouched. It also removes what does not
   * open, which is how a removal that was cut short is finished.
   */
  function removeRow(row: ImageRow) {
    for (const snap of catalog.snapsOf(row)) {
      if (snap.namespace === 'user' || catalog.children(snap).length > 0) {
        throw new RbdError(ENOTEMPTY, `${row.pool}/${row.name} has snapshots`)
      }
    }
    if (catalog.watchers(row.seq) > 0) throw new RbdError(EBUSY, `${row.pool}/${row.name} has watchers`)
    store.transact(() => {
      for (const snap of catalog.snapsOf(row)) catalog.dropSnap(snap)
      store.run('DELETE FROM images WHERE seq = ?', row.seq)
      catalog.releaseParents(row.seq)
      blocks.dropImage(row.seq)
    })
    blocks.removeFile(row.seq)
  }

  function existing(pool: string, image: string): ImageRow {
    const row = catalog.named(pool, image)
    if (!row) throw new RbdError(ENOENT, `no image ${pool}/${image}`)
    return row
  }

  function vacant(pool: string, image: string) {
    if (catalog.named(pool, image)) throw new RbdError(EEXIST, `${pool}/${image} exists`)
  }

  function trashed(pool: string, id: string): ImageRow {
    catalog.pool(pool)
    const sql = 'SELECT * FROM images WHERE pool = ? AND id = ? AND trashedMs IS NOT NULL'
    const row = store.get<ImageRow>(sql, pool, id)
    if (!row) throw new RbdError(ENOENT, `nothing in the trash of ${pool} has the id ${id}`)
    return row
  }

  return {
    /** Every name in the pool's directory, also one that does not open. */
    images(pool: string): string[] {
      catalog.pool(pool)
      const sql = 'SELECT name FROM images WHERE pool = ? AND trashedMs IS NULL ORDER BY name'
      return store.all<{ name: string }>(sql, pool).map((row) => row.name)
    },

    info(pool: string, image: string): ImageInfo {
      const row = catalog.image(pool, image)
      const snaps = catalog.snapsOf(row)
      const operations = hasFormat2(row) ? featureMask(['operations']) : 0
      return {
        pool,
        name: image,
        id: row.id,
        sizeBytes: row.size,
        features: featureNames(row.features | operations),
        parent: parentOf(row),
        snaps: snaps.filter((snap) => snap.namespace === 'user').map(snapInfo),
        trashedSnaps: snaps.filter((snap) => snap.namespace === 'trash').map(snapInfo),
        watchers: catalog.watchers(row.seq),
        createdAtMs: row.createdMs,
      }
    },

    create(pool: string, image: string, sizeBytes: number, features: readonly string[] = defaultFeatures) {
      vacant(pool, image)
      catalog.insertImage(pool, image, sizeBytes, featureMask(features), 1)
    },

    remove: (pool: string, image: string) => removeRow(existing(pool, image)),

    rename(pool: string, image: string, name: string) {
      const row = catalog.image(pool, image)
      vacant(pool, name)
      store.run('UPDATE images SET name = ? WHERE seq = ?', name, row.seq)
    },

    /** A client that has the image open, a running guest above all. The same client twice is one watcher. */
    addWatcher(pool: string, image: string, client = 'guest') {
      const { seq } = catalog.image(pool, image)
      store.run('INSERT OR IGNORE INTO watchers (image, client) VALUES (?, ?)', seq, client)
    },
    removeWatcher(pool: string, image: string, client = 'guest') {
      const row = catalog.named(pool, image)
      if (row) store.run('DELETE FROM watchers WHERE image = ? AND client = ?', row.seq, client)
    },

    trash: {
      /** Never refused: in use, with snapshots, with children, or half made and not to be opened. */
      move(pool: string, image: string, keepMs = 0) {
        const { seq } = existing(pool, image)
        store.run(
          'UPDATE images SET trashedMs = ?, keptUntilMs = ? WHERE seq = ?',
          Date.now(),
          Date.now() + keepMs,
          seq,
        )
      },
      list(pool: string): TrashEntry[] {
        catalog.pool(pool)
        const sql = `SELECT id, name, trashedMs AS deletedAtMs, keptUntilMs FROM images WHERE pool = ? AND trashedMs IS NOT NULL ORDER BY seq`
        return store.all<TrashEntry>(sql, pool)
      },
      remove(pool: string, id: string, isForced = false) {
        const row = trashed(pool, id)
        if (!isForced && (row.keptUntilMs ?? 0) > Date.now()) throw new RbdError(EPERM, `${id} is kept for now`)
        removeRow(row)
      },
      restore(pool: string, id: string, name?: string) {
        const row = trashed(pool, id)
        vacant(pool, name ?? row.name)
        const sql = 'UPDATE images SET trashedMs = NULL, keptUntilMs = NULL, name = ? WHERE seq = ?'
        store.run(sql, name ?? row.name, row.seq)
      },
    },
  }
}
