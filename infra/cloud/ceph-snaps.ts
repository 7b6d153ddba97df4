import { randomUUID } from 'node:crypto'
import type { Catalog, ImageRow, SnapRow } from './ceph-catalog.ts'
import { EBUSY, EEXIST, EINVAL, ENOENT, ENOSYS, RbdError } from './ceph-errors.ts'
import { hasFeature } from './ceph-features.ts'
import type { MonitorRounds } from './ceph-monitor.ts'
import type { Store } from './ceph-store.ts'

export function snapOperations(store: Store, catalog: Catalog, rounds: MonitorRounds) {
  function vacant(row: ImageRow, name: string) {
    if (catalog.snapsOf(row).some((snap) => snap.name === name)) {
      throw new RbdError(EEXIST, `${row.pool}/${row.name}@${name} exists`)
    }
  }

  function removable(snap: SnapRow) {
    const hasFormat1Child = catalog.children(snap).some(({ format }) => format === 1)
    if (snap.isProtected || hasFormat1Child)
      throw new RbdError(EBUSY, `snapshot ${snap.name} is protected or has a child`)
  }

  /** The image may have been renamed or removed while the monitor was waited for. */
  function still(row: ImageRow): ImageRow {
    const now = catalog.row(row.seq)
    if (!now) throw new RbdError(ENOENT, `${row.pool}/${row.name} is gone`)
    return now
  }

  function sendToTrash(snap: SnapRow) {
    store.run(`UPDATE snaps SET namespace = 'trash', name = ? WHERE id = ?`, randomUUID(), snap.id)
  }

  return {
    /**
     * Its content is that of the instant when the monitor's round completes. Once asked for it is made, also when the
     * asker dies.
     */
    async snapCreate(pool: string, image: string, name: string): Promise<void> {
      const asked = catalog.image(pool, image)
      vacant(asked, name)
      await rounds.next()
      const row = still(asked)
      vacant(row, name)
      const sql = `INSERT INTO snaps (image, name, namespace, isProtected, size, parent, overlap, createdMs) VALUES (?, ?, 'user', 0, ?, ?, ?, ?)`
      store.run(sql, row.seq, name, row.size, row.parent, row.overlap, Date.now())
    },

    async snapRemove(pool: string, image: string, name: string): Promise<void> {
      const asked = catalog.image(pool, image)
      removable(catalog.snap(asked, name))
      await rounds.next()
      const snap = catalog.snap(still(asked), name)
      removable(snap)
      if (catalog.children(snap).length > 0) sendToTrash(snap)
      else store.transact(() => catalog.dropSnap(snap))
    },

    /** librbd refuses an image without layering (-ENOSYS) and a second time (-EBUSY). */
    snapProtect(pool: string, image: string, name: string) {
      const row = catalog.image(pool, image)
      const snap = catalog.snap(row, name)
      if (!hasFeature(row.features, 'layering')) throw new RbdError(ENOSYS, 'image must support layering')
      if (snap.isProtected) throw new RbdError(EBUSY, `snapshot ${name} is protected already`)
      store.run('UPDATE snaps SET isProtected = 1 WHERE id = ?', snap.id)
    },

    snapUnprotect(pool: string, image: string, name: string) {
      const snap = catalog.snap(catalog.image(pool, image), name)
      if (!snap.isProtected) throw new RbdError(EINVAL, `snapshot ${name} is not protected`)
      if (catalog.children(snap).some(({ format }) => format === 1)) {
        throw new RbdError(EBUSY, `snapshot ${name} has a child`)
      }
      store.run('UPDATE snaps SET isProtected = 0 WHERE id = ?', snap.id)
    },

    snapRename(pool: string, image: string, name: string, newName: string) {
      const row = catalog.image(pool, image)
      const snap = catalog.snap(row, name)
      vacant(row, newName)
      store.run('UPDATE snaps SET name = ? WHERE id = ?', newName, snap.id)
    },
  }
}
