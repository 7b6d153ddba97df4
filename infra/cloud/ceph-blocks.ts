import { closeSync, constants, mkdirSync, openSync, readdirSync, readSync, rmSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import type { Store } from './ceph-store.ts'

/** RBD's object size: what flatten and copy go by */
export const objectBytes = 4 * 1024 * 1024
/** What is copied on a write; Bluestore shares finer than an object too */
export const blockBytes = 64 * 1024
export const blocksPerObject = objectBytes / blockBytes
export const zeroBlock = Buffer.alloc(blockBytes)

/** Below it is every version: the image's head, not one of its snapshots */
export const head = Number.MAX_SAFE_INTEGER

/**
 * What one image of a chain of clones adds to a view: its versions older than the snapshot `below`, in its first
 * `blocks` blocks.
 */
export interface Layer {
  image: number
  below: number
  blocks: number
}
interface Place {
  image: number
  slot: number
}

/**
 * A version of a block bears the id of the newest snapshot that was there when it was written. So snapshot S sees the
 * newest version with a smaller id than its own, and a write may go in place when no snapshot is newer than the newest
 * version.
 */
export const blocksSchema = `
  CREATE TABLE IF NOT EXISTS blocks (image INTEGER, block INTEGER, epoch INTEGER, slot INTEGER, PRIMARY KEY (image, block, epoch)) WITHOUT ROWID;
  CREATE TABLE IF NOT EXISTS slots (image INTEGER PRIMARY KEY, next INTEGER);
  CREATE TABLE IF NOT EXISTS freed (image INTEGER, slot INTEGER, PRIMARY KEY (image, slot)) WITHOUT ROWID;
  CREATE TABLE IF NOT EXISTS objectMap (image INTEGER, object INTEGER, PRIMARY KEY (image, object)) WITHOUT ROWID;
`

/** The bytes: one sparse file an image, and where in it each version of each block is. */
export function openBlocks(dir: string, store: Store) {
  mkdirSync(dir, { recursive: true })
  const files = openFiles(dir)

  function locate(layers: readonly Layer[], first: number, end: number): Map<number, Place> {
    const found = new Map<number, Place>()
    for (const { image, below, blocks } of layers) {
      if (found.size === end - first) break
      const rows = store.all<{ block: number; slot: number }>(
        'SELECT block, slot, MAX(epoch) AS epoch FROM blocks WHERE image = ? AND block >= ? AND block < ? AND epoch < ? GROUP BY block',
        image,
        first,
        Math.min(end, blocks),
        below,
      )
      for (const { block, slot } of rows) if (!found.has(block)) found.set(block, { image, slot })
    }
    return found
  }

  function takeSlot(image: number): number {
    const freed = store.get<{ slot: number }>('SELECT slot FROM freed WHERE image = ? LIMIT 1', image)
    if (freed) {
      store.run('DELETE FROM freed WHERE image = ? AND slot = ?', image, freed.slot)
      return freed.slot
    }
    const sql =
      'INSERT INTO slots (image, next) VALUES (?, 1) ON CONFLICT (image) DO UPDATE SET next = next + 1 RETURNING next - 1 AS slot'
    return store.get<{ slot: number }>(sql, image)?.slot ?? 0
  }

  function put(image: number, block: number, epoch: number, bytes: Uint8Array) {
    const slot = takeSlot(image)
    files.write(image, slot * blockBytes, bytes)
    store.run('INSERT INTO blocks (image, block, epoch, slot) VALUES (?, ?, ?, ?)', image, block, epoch, slot)
  }

  function readBlock(place: Place): Buffer {
    return files.read(place.image, place.slot * blockBytes, blockBytes)
  }

  return {
    put,
    readBlock,
    locate,

    /** Every block that the view has, in order. */
    present(layers: readonly Layer[]): number[] {
      const found = new Set<number>()
      for (const { image, below, blocks } of layers) {
        const sql = 'SELECT DISTINCT block FROM blocks WHERE image = ? AND epoch < ? AND block < ?'
        for (const { block } of store.all<{ block: number }>(sql, image, below, blocks)) found.add(block)
      }
      return [...found].sort((a, b) => a - b)
    },

    /** The versions of a block in one image, oldest first. */
    epochs(image: number, block: number): number[] {
      const sql = 'SELECT epoch FROM blocks WHERE image = ? AND block = ? ORDER BY epoch'
      return store.all<{ epoch: number }>(sql, image, block).map((row) => row.epoch)
    },

    read(layers: readonly Layer[], offset: number, length: number): Buffer {
      const bytes = Buffer.alloc(length)
      const first = Math.floor(offset / blockBytes)
      for (const [block, { image, slot }] of locate(layers, first, Math.ceil((offset + length) / blockBytes))) {
        const from = Math.max(offset, block * blockBytes)
        const to = Math.min(offset + length, (block + 1) * blockBytes)
        files.readInto(image, slot * blockBytes + from - block * blockBytes, bytes.subarray(from - offset, to - offset))
      }
      return bytes
    },

    /** `epoch` is the id of the image's newest snapshot. */
    write(image: number, epoch: number, layers: readonly Layer[], offset: number, bytes: Uint8Array) {
      const end = offset + bytes.length
      for (let block = Math.floor(offset / blockBytes); block * blockBytes < end; block += 1) {
        const from = Math.max(offset, block * blockBytes)
        const part = bytes.subarray(from - offset, Math.min(end, (block + 1) * blockBytes) - offset)
        const sql = 'SELECT epoch, slot FROM blocks WHERE image = ? AND block = ? ORDER BY epoch DESC LIMIT 1'
        const newest = store.get<{ epoch: number; slot: number }>(sql, image, block)
        if (newest && newest.epoch >= epoch) {
          files.write(image, newest.slot * blockBytes + from - block * blockBytes, part)
          continue
        }
        const below = locate(layers, block, block + 1).get(block)
        const whole = below ? readBlock(below) : Buffer.alloc(blockBytes)
        whole.set(part, from - block * blockBytes)
        put(image, block, epoch, whole)
      }
    },

    /** Gives back every version that neither the head nor a snapshot sees; `snaps` are the image's that are left. */
    dropUnseen(image: number, snaps: readonly number[]) {
      const sql = `SELECT block, epoch, slot, LEAD(epoch) OVER (PARTITION BY block ORDER BY epoch) AS next FROM blocks WHERE image = ?`
      for (const version of store.all<{ block: number; epoch: number; slot: number; next: number | null }>(
        sql,
        image,
      )) {
        const { block, epoch, slot, next } = version
        if (next === null || snaps.some((id) => epoch < id && id <= next)) continue
        store.run('DELETE FROM blocks WHERE image = ? AND block = ? AND epoch = ?', image, block, epoch)
        store.run('INSERT INTO freed (image, slot) VALUES (?, ?)', image, slot)
      }
    },

    /** The rows go in the caller's transaction; the file goes with `removeFile`, after it. */
    dropImage(image: number) {
      for (const table of ['blocks', 'slots', 'freed', 'objectMap'])
        store.run(`DELETE FROM ${table} WHERE image = ?`, image)
    },
    removeFile: files.remove,
    /** Files whose image went in a transaction just before the process was killed. */
    sweep: files.sweep,
    close: files.close,
  }
}
export type Blocks = ReturnType<typeof openBlocks>

const openAtOnce = 64

function openFiles(dir: string) {
  const open = new Map<number, number>()
  const path = (image: number) => join(dir, `${image}.data`)

  function descriptor(image: number): number {
    const fd = open.get(image) ?? openSync(path(image), constants.O_RDWR | constants.O_CREAT, 0o600)
    open.delete(image)
    open.set(image, fd)
    for (const [oldest, oldFd] of open) {
      if (open.size <= openAtOnce) break
      closeSync(oldFd)
      open.delete(oldest)
    }
    return fd
  }

  function readInto(image: number, position: number, bytes: Uint8Array) {
    readSync(descriptor(image), bytes, 0, bytes.length, position)
  }

  return {
    readInto,
    read(image: number, position: number, length: number): Buffer {
      const bytes = Buffer.alloc(length)
      readInto(image, position, bytes)
      return bytes
    },
    write: (image: number, position: number, bytes: Uint8Array) => {
      writeSync(descriptor(image), bytes, 0, bytes.length, position)
    },
    remove(image: number) {
      const fd = open.get(image)
      if (fd !== undefined) closeSync(fd)
      open.delete(image)
      rmSync(path(image), { force: true })
    },
    sweep(images: ReadonlySet<number>) {
      for (const name of readdirSync(dir))
        if (!images.has(Number.parseInt(name, 10))) rmSync(join(dir, name), { force: true })
    },
    close() {
      for (const fd of open.values()) closeSync(fd)
      open.clear()
    },
  }
}
