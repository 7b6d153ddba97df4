import { randomUUID } from 'node:crypto'
import { type Blocks, blockBytes, head, type Layer } from './ceph-blocks.ts'
import { ENOENT, RbdError } from './ceph-errors.ts'
import type { Store } from './ceph-store.ts'

export interface ImageRow {
  seq: number
  id: string
  pool: string
  name: string
  size: number
  features: number
  /** 0: its name is taken but the header was never written, so it does not open */
  hasHeader: 0 | 1
  /** the snapshot that it reads through */
  parent: number | null
  overlap: number
  createdMs: number
  trashedMs: number | null
  keptUntilMs: number | null
}
export interface SnapRow {
  id: number
  image: number
  name: string
  /** trash: removed while a clone of format 2 still hangs on it */
  namespace: 'user' | 'trash'
  isProtected: 0 | 1
  size: number
  parent: number | null
  overlap: number
  createdMs: number
}

export const catalogSchema = `
  CREATE TABLE IF NOT EXISTS pools (name TEXT PRIMARY KEY) WITHOUT ROWID;
  CREATE TABLE IF NOT EXISTS images (seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT UNIQUE, pool TEXT, name TEXT, size INTEGER,
    features INTEGER, hasHeader INTEGER, parent INTEGER, overlap INTEGER, createdMs INTEGER, trashedMs INTEGER, keptUntilMs INTEGER);
  CREATE UNIQUE INDEX IF NOT EXISTS imageName ON images (pool, name) WHERE trashedMs IS NULL;
  CREATE TABLE IF NOT EXISTS snaps (id INTEGER PRIMARY KEY AUTOINCREMENT, image INTEGER, name TEXT, namespace TEXT, isProtected INTEGER,
    size INTEGER, parent INTEGER, overlap INTEGER, createdMs INTEGER, UNIQUE (image, name));
  CREATE TABLE IF NOT EXISTS children (parent INTEGER, child INTEGER, format INTEGER, PRIMARY KEY (parent, child)) WITHOUT ROWID;
  CREATE INDEX IF NOT EXISTS childrenOf ON children (child);
  CREATE TABLE IF NOT EXISTS watchers (image INTEGER, client TEXT, PRIMARY KEY (image, client)) WITHOUT ROWID;
`

/** Which images, snapshots and children there are, and who reads through whom. */
export function openCatalog(store: Store, blocks: Blocks) {
  const busy = new Map<number, number>()

  function pool(name: string) {
    if (!store.get('SELECT name FROM pools WHERE name = ?', name)) {
      throw new RbdError(ENOENT, `error opening pool '${name}'`, 'pool')
    }
  }

  function row(seq: number): ImageRow | undefined {
    return store.get<ImageRow>('SELECT * FROM images WHERE seq = ?', seq)
  }

  /** Whoever has the name, also when it does not open. */
  function named(inPool: string, name: string): ImageRow | undefined {
    pool(inPool)
    return store.get<ImageRow>('SELECT * FROM images WHERE pool = ? AND name = ? AND trashedMs IS NULL', inPool, name)
  }

  function snapRow(id: number): SnapRow | undefined {
    return store.get<SnapRow>('SELECT * FROM snaps WHERE id = ?', id)
  }

  function opens(image: ImageRow): boolean {
    if (!image.hasHeader) return false
    if (image.parent === null) return true
    const snap = snapRow(image.parent)
    const parent = snap && row(snap.image)
    return parent !== undefined && opens(parent)
  }

  function image(inPool: string, name: string): ImageRow {
    const found = named(inPool, name)
    if (!found || !opens(found)) throw new RbdError(ENOENT, `error opening image ${inPool}/${name}`)
    return found
  }

  function snapsOf(of: ImageRow): SnapRow[] {
    return store.all<SnapRow>('SELECT * FROM snaps WHERE image = ? ORDER BY id', of.seq)
  }

  function snap(of: ImageRow, name: string): SnapRow {
    const found = store.get<SnapRow>(
      `SELECT * FROM snaps WHERE image = ? AND name = ? AND namespace = 'user'`,
      of.seq,
      name,
    )
    if (!found) throw new RbdError(ENOENT, `no snapshot ${of.pool}/${of.name}@${name}`)
    return found
  }

  function children(of: SnapRow): { image: ImageRow; format: 1 | 2 }[] {
    return store
      .all<ImageRow & { format: 1 | 2 }>(
        'SELECT images.*, children.format FROM children JOIN images ON images.seq = children.child WHERE children.parent = ? ORDER BY images.seq',
        of.id,
      )
      .map(({ format, ...child }) => ({ image: child, format }))
  }

  /** From the top of the chain of clones to its bottom; each one is seen as far as the overlaps above it reach. */
  function layers(of: ImageRow, at: SnapRow | null): Layer[] {
    const chain: Layer[] = [
      { image: of.seq, below: at?.id ?? head, blocks: Math.ceil((at?.size ?? of.size) / blockBytes) },
    ]
    let { parent, overlap } = at ?? of
    let reach = Number.MAX_SAFE_INTEGER
    while (parent !== null) {
      const through = snapRow(parent)
      if (!through) break
      reach = Math.min(reach, Math.ceil(overlap / blockBytes))
      chain.push({ image: through.image, below: through.id, blocks: reach })
      ;({ parent, overlap } = through)
    }
    return chain
  }

  function dropSnap(gone: SnapRow) {
    store.run('DELETE FROM snaps WHERE id = ?', gone.id)
    const left = store.all<{ id: number }>('SELECT id FROM snaps WHERE image = ?', gone.image).map((other) => other.id)
    blocks.dropUnseen(gone.image, left)
    releaseParents(gone.image)
  }

  /**
   * Takes the image off its parents' lists of children where neither its head nor one of its snapshots reads through
   * them any more; a parent in the trash namespace goes with its last child.
   */
  function releaseParents(seq: number) {
    const loose = store.all<{ parent: number }>(
      `SELECT parent FROM children WHERE child = ?1
         AND parent NOT IN (SELECT parent FROM images WHERE seq = ?1 AND parent IS NOT NULL)
         AND parent NOT IN (SELECT parent FROM snaps WHERE image = ?1 AND parent IS NOT NULL)`,
      seq,
    )
    for (const { parent } of loose) {
      store.run('DELETE FROM children WHERE child = ? AND parent = ?', seq, parent)
      const through = snapRow(parent)
      if (through?.namespace === 'trash' && children(through).length === 0) dropSnap(through)
    }
  }

  function freshId(): string {
    return randomUUID().replaceAll('-', '').slice(0, 12)
  }

  return {
    pool,
    row,
    named,
    image,
    snap,
    snapRow,
    snapsOf,
    children,
    layers,
    dropSnap,
    releaseParents,

    insertImage(inPool: string, name: string, size: number, features: number, hasHeader: 0 | 1): number {
      const sql = `INSERT INTO images (id, pool, name, size, features, hasHeader, overlap, createdMs) VALUES (?, ?, ?, ?, ?, ?, 0, ?)`
      return store.run(sql, freshId(), inPool, name, size, features, hasHeader, Date.now())
    },

    /** The id of the newest snapshot, 0 without one. */
    epoch(seq: number): number {
      return store.get<{ id: number | null }>('SELECT MAX(id) AS id FROM snaps WHERE image = ?', seq)?.id ?? 0
    },

    /** A flatten or a copy in this process holds its image open. */
    hold(seq: number): () => void {
      busy.set(seq, (busy.get(seq) ?? 0) + 1)
      return () => busy.set(seq, (busy.get(seq) ?? 1) - 1)
    },

    watchers(seq: number): number {
      const sql = 'SELECT COUNT(*) AS many FROM watchers WHERE image = ?'
      return (store.get<{ many: number }>(sql, seq)?.many ?? 0) + (busy.get(seq) ?? 0)
    },
  }
}
export type Catalog = ReturnType<typeof openCatalog>
