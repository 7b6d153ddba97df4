import { createHash, type Hash } from 'node:crypto'
import { mkdirSync } from 'node:fs'
import { type FileHandle, open, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { type Cluster, RbdError } from './cluster.ts'

/** What glance_store raises, by the name it has there. */
export class StoreError extends Error {
  readonly is: 'Duplicate' | 'InUseByStore' | 'TooLarge' | 'CutShort'

  constructor(is: 'Duplicate' | 'InUseByStore' | 'TooLarge' | 'CutShort') {
    super(is)
    this.is = is
  }
}

export interface Stored {
  url: string
  sizeBytes: number
  /** of the disk in it: what the header of a qcow2 says, else the same */
  virtualSizeBytes: number
  md5: string
  sha512: string
}

const chunkBytes = 4 << 20

/** glance_store's rbd driver over one pool: an image is `pool/<id>` with the protected snapshot `snap`. */
export function rbdStore(cluster: Cluster, pool: string, spoolDir: string) {
  mkdirSync(spoolDir, { recursive: true })
  const prefix = `rbd://${cluster.fsid}/${pool}/`
  /** whose removal is under way: it holds the exclusive lock */
  const going = new Set<string>()
  const exists = (image: string) => cluster.images(pool).includes(image)

  /** Only a URL with the store's own fsid and pool is one of its locations (glance/common/store_utils `_get_store_id_from_uri`). */
  function parse(url: string): { image: string; snap: string } | null {
    const [image, snap, ...rest] = url.startsWith(prefix) ? url.slice(prefix.length).split('/') : []
    return image && snap && rest.length === 0
      ? { image: decodeURIComponent(image), snap: decodeURIComponent(snap) }
      : null
  }

  function sizeBytes(url: string): number | null {
    const place = parse(url)
    if (!place || !exists(place.image)) return null
    try {
      const snap = cluster.info(pool, place.image).snaps.find((s) => s.name === place.snap)
      return snap ? snap.sizeBytes : null
    } catch (error) {
      if (error instanceof RbdError && error.errno === 2) return null
      throw error
    }
  }

  /** `_delete_image`: unprotect, remove `snap`, remove the image; what is missing is no error, what is used is InUseByStore. */
  async function remove(url: string, takesMs = 0): Promise<void> {
    const place = parse(url)
    if (!place || !exists(place.image)) return
    if (going.has(place.image)) throw new StoreError('InUseByStore')
    going.add(place.image)
    try {
      const snap = cluster.info(pool, place.image).snaps.find((s) => s.name === place.snap)
      if (snap?.isProtected) cluster.snapUnprotect(pool, place.image, place.snap)
      if (snap) await cluster.snapRemove(pool, place.image, place.snap)
      if (takesMs > 0) await sleep(takesMs)
      cluster.remove(pool, place.image)
    } catch (error) {
      if (!(error instanceof RbdError)) throw error
      if (error.errno === 16 || error.errno === 39) throw new StoreError('InUseByStore')
      if (error.errno !== 2) throw error
    } finally {
      going.delete(place.image)
    }
  }

  function reserve(image: string, bytes: number): void {
    try {
      cluster.create(pool, image, bytes)
    } catch (error) {
      if (error instanceof RbdError && error.errno === 17) throw new StoreError('Duplicate')
      throw error
    }
  }

  /** A size told beforehand: straight into the image, as glance_store does. */
  async function fill(image: string, bytes: number, pieces: AsyncIterable<Buffer>): Promise<number> {
    reserve(image, bytes)
    let offset = 0
    for await (const piece of pieces) {
      if (offset + piece.length > bytes) throw new StoreError('CutShort')
      if (!isBlank(piece)) cluster.write(pool, image, offset, piece)
      offset += piece.length
    }
    if (offset < bytes) throw new StoreError('CutShort')
    return bytes
  }

  /**
   * An unknown size (a chunked upload): glance_store holds the name with an empty image that it lets grow. The name is held here
   * too; the bytes wait in a sparse file until the size is known.
   */
  async function spool(image: string, pieces: AsyncIterable<Buffer>): Promise<number> {
    reserve(image, 0)
    const file = join(spoolDir, image)
    const handle = await open(file, 'w+')
    try {
      const bytes = await intoFile(handle, pieces)
      cluster.remove(pool, image)
      reserve(image, bytes)
      for await (const { offset, piece } of fromFile(handle, bytes))
        if (!isBlank(piece)) cluster.write(pool, image, offset, piece)
      return bytes
    } finally {
      await handle.close()
      await rm(file, { force: true })
    }
  }

  return {
    pool,
    url: (image: string) => `${prefix}${image}/snap`,
    sizeBytes,
    remove,
    async add(
      image: string,
      source: AsyncIterable<Uint8Array>,
      known: number | null,
      capBytes: number,
    ): Promise<Stored> {
      const md5 = createHash('md5')
      const sha512 = createHash('sha512')
      const pieces = inPieces(source, [md5, sha512], capBytes)
      let isOurs = false
      try {
        if (exists(image)) throw new StoreError('Duplicate')
        isOurs = true
        const bytes = known === null ? await spool(image, pieces) : await fill(image, known, pieces)
        await cluster.snapCreate(pool, image, 'snap')
        cluster.snapProtect(pool, image, 'snap')
        const header = cluster.read(pool, image, 'snap', 0, Math.min(bytes, 32))
        const virtualSizeBytes = virtualSizeOf(header) ?? bytes
        return {
          url: this.url(image),
          sizeBytes: bytes,
          virtualSizeBytes,
          md5: md5.digest('hex'),
          sha512: sha512.digest('hex'),
        }
      } catch (error) {
        if (isOurs && exists(image)) cluster.remove(pool, image)
        throw error
      }
    },
    *read(url: string): Generator<Uint8Array> {
      const place = parse(url)
      const bytes = sizeBytes(url)
      if (!place || bytes === null) return
      for (let offset = 0; offset < bytes; offset += chunkBytes)
        yield cluster.read(pool, place.image, place.snap, offset, Math.min(chunkBytes, bytes - offset))
    },
  }
}
export type RbdStore = ReturnType<typeof rbdStore>

/** The source again in pieces of one RBD object, hashed and counted on the way. */
async function* inPieces(
  source: AsyncIterable<Uint8Array>,
  hashes: Hash[],
  capBytes: number,
): AsyncGenerator<Buffer<ArrayBuffer>> {
  let waiting: Uint8Array[] = []
  let held = 0
  let total = 0
  for await (const chunk of source) {
    for (const hash of hashes) hash.update(chunk)
    total += chunk.length
    if (total > capBytes) throw new StoreError('TooLarge')
    waiting.push(chunk)
    held += chunk.length
    if (held < chunkBytes) continue
    const whole = Buffer.concat(waiting)
    let at = 0
    for (; held - at >= chunkBytes; at += chunkBytes) yield whole.subarray(at, at + chunkBytes)
    waiting = [whole.subarray(at)]
    held -= at
  }
  if (held > 0) yield Buffer.concat(waiting)
}

async function intoFile(handle: FileHandle, pieces: AsyncIterable<Buffer>): Promise<number> {
  let offset = 0
  for await (const piece of pieces) {
    if (!isBlank(piece)) await handle.write(piece, 0, piece.length, offset)
    offset += piece.length
  }
  await handle.truncate(offset)
  return offset
}

async function* fromFile(handle: FileHandle, bytes: number) {
  for (let offset = 0; offset < bytes; offset += chunkBytes) {
    const piece = Buffer.alloc(Math.min(chunkBytes, bytes - offset))
    await handle.read(piece, 0, piece.length, offset)
    yield { offset, piece }
  }
}

/** Magic and, from byte 24 on, the virtual size (qemu, docs/interop/qcow2.txt). */
function virtualSizeOf(header: Uint8Array): number | null {
  const bytes = Buffer.from(header)
  const isQcow2 = bytes.length === 32 && bytes.toString('latin1', 0, 4) === 'QFI\xfb'
  return isQcow2 ? Number(bytes.readBigUInt64BE(24)) : null
}

const blank = Buffer.alloc(chunkBytes)
const isBlank = (piece: Uint8Array) => blank.compare(piece, 0, piece.length, 0, piece.length) === 0
