import { createHash } from 'node:crypto'
import type { Image } from '../../shared/ports/images.ts'
import type { Actor, Ceph } from './ceph.ts'
import type { FakeClock } from './clock.ts'

/** Glance's records and its RBD store's rules (facts seen on Glance 25.1): statuses are HTTP's. */
export class GlanceError extends Error {
  readonly status: number
  constructor(status: number, words: string) {
    super(words)
    this.status = status
  }
}

export interface FakeRecord extends Image {
  minDiskGib: number
  hasFormats: boolean
  diskFormat: 'raw' | 'qcow2'
  madeBy: Actor
}

export interface GlanceEvent {
  atMs: number
  by: Actor
  op: 'create' | 'delete' | 'delete refused' | 'located' | 'uploaded'
  image: FakeRecord
  /** of `located`: what the location led to at that moment */
  volume: { content: string | null; sizeBytes: number; hasSnap: boolean } | null
}

const snapName = 'snap'

export type Glance = ReturnType<typeof fakeGlance>

export function fakeGlance(ceph: Ceph, clock: FakeClock, pool: string) {
  const images = new Map<string, FakeRecord>()
  /** an id that was deleted can never be used again */
  const deleted = new Map<string, FakeRecord>()
  const events: GlanceEvent[] = []
  const settings = {
    takesLocationsFrom: { rbdsnap: true, nova: true, glance: true, tenant: true },
    isQuotaUsedUp: false,
    /** In so many of the next uploads Glance dies, begun so long ago, and the image is `saving` for ever. */
    deathsInUpload: { count: 0, afterMs: 0 },
  }

  const volumeOf = (id: string) => ({ pool, image: id })
  const note = (by: Actor, op: GlanceEvent['op'], image: FakeRecord, volume: GlanceEvent['volume'] = null) =>
    void events.push({ atMs: clock.nowMs(), by, op, image: structuredClone(image), volume })

  const get = (id: string): FakeRecord => {
    const found = images.get(id)
    if (!found) throw new GlanceError(404, `image ${id}`)
    return found
  }

  function moveTo(image: FakeRecord, status: Image['status']): void {
    image.status = status
    image.updatedAtMs = clock.nowMs()
  }

  /**
   * The data is deleted now and the record by what is given: whoever looks in between sees an active image without a volume
   * (glance/location.py ImageProxy.delete, then image_repo.remove).
   */
  function deleteSlowly(by: Actor, id: string): () => void {
    const image = get(id)
    if (image.isProtected) {
      note(by, 'delete refused', image)
      throw new GlanceError(403, `Image ${id} is protected and cannot be deleted.`)
    }
    // A queued image has no location: what bears its name in the pool stays.
    if (image.locations.length > 0) {
      const volume = volumeOf(id)
      const snap = { ...volume, snap: snapName }
      if (ceph.childrenOf(snap).length > 0) {
        note(by, 'delete refused', image)
        throw new GlanceError(409, 'in use through the backend store')
      }
      if (ceph.has(volume)) {
        if (ceph.snapOf(snap).isProtected) ceph.unprotect('glance', snap)
        ceph.snapRemove('glance', snap)
        ceph.remove('glance', volume)
      }
    }
    return () => {
      images.delete(id)
      deleted.set(id, { ...image, status: 'deleted' })
      note(by, 'delete', image)
    }
  }

  return {
    images,
    deleted,
    events,
    settings,
    get,

    create(by: Actor, wanted: Pick<Image, 'id' | 'owner' | 'name'> & Partial<FakeRecord>): FakeRecord {
      if (images.has(wanted.id) || deleted.has(wanted.id)) throw new GlanceError(409, `Image ID ${wanted.id} exists`)
      if (settings.isQuotaUsedUp) throw new GlanceError(413, 'the quota of images is used up')
      const made: FakeRecord = {
        status: 'queued',
        isProtected: false,
        isPrivate: true,
        sizeBytes: null,
        virtualSizeBytes: null,
        checksum: null,
        createdAtMs: clock.nowMs(),
        updatedAtMs: clock.nowMs(),
        locations: [],
        stores: [],
        properties: {},
        minDiskGib: 0,
        hasFormats: false,
        diskFormat: 'raw',
        madeBy: by,
        ...wanted,
      }
      images.set(made.id, made)
      note(by, 'create', made)
      return made
    },

    /** any PATCH: `updated_at` moves (glance/db/sqlalchemy/api.py) */
    patch(id: string, change: (image: FakeRecord) => void): void {
      const image = get(id)
      change(image)
      image.updatedAtMs = clock.nowMs()
    },

    addLocation(by: Actor, id: string, url: string): void {
      const image = get(id)
      if (!settings.takesLocationsFrom[by])
        throw new GlanceError(403, "It's not allowed to add locations if locations are invisible.")
      if (!image.hasFormats) throw new GlanceError(400, 'Properties disk_format, container_format must be set')
      if (image.status !== 'queued') throw new GlanceError(400, 'location already exists')
      const volume = volumeOf(decodeURIComponent(url.split('/').at(-2) ?? ''))
      if (!ceph.has(volume)) throw new GlanceError(400, 'Invalid location')
      const { sizeBytes, snaps } = ceph.image(volume)
      image.locations.push(url)
      image.sizeBytes = sizeBytes
      moveTo(image, 'active')
      const hasSnap = snaps.get(snapName)?.isProtected === true
      note(by, 'located', image, { content: ceph.content(volume), sizeBytes, hasSnap })
    },

    /** glance_store makes its own volume under the image's id, exclusively, and removes it again when the upload fails. */
    async upload(by: Actor, id: string, bytes: ReadableStream<Uint8Array>): Promise<void> {
      const image = get(id)
      if (image.status !== 'queued' || !image.hasFormats) throw new GlanceError(409, `image ${id} is ${image.status}`)
      const volume = volumeOf(id)
      if (ceph.has(volume)) throw new GlanceError(500, 'the store has that name')
      moveTo(image, 'saving')
      const made = ceph.create('glance', volume, { sizeBytes: 0 })
      if (settings.deathsInUpload.count > 0) {
        settings.deathsInUpload.count -= 1
        image.updatedAtMs -= settings.deathsInUpload.afterMs
        await bytes.cancel()
        throw new GlanceError(503, 'ECONNRESET')
      }
      try {
        const whole = await wholeOf(bytes)
        made.sizeBytes = whole.length
        made.content = textOf(whole)
        image.checksum = createHash('md5').update(whole).digest('hex')
      } catch (error) {
        ceph.remove('glance', volume)
        moveTo(image, 'queued')
        throw error
      }
      if (!images.has(id)) {
        ceph.remove('glance', volume)
        throw new GlanceError(410, `Image ${id} could not be found after upload.`)
      }
      ceph.snapCreate('glance', { ...volume, snap: snapName })
      ceph.protect('glance', { ...volume, snap: snapName })
      image.sizeBytes = made.sizeBytes
      image.virtualSizeBytes = made.sizeBytes
      image.locations.push(`rbd://${ceph.fsid}/${pool}/${id}/${snapName}`)
      moveTo(image, 'active')
      note(by, 'uploaded', image, { content: made.content, sizeBytes: made.sizeBytes, hasSnap: true })
    },

    delete(by: Actor, id: string): void {
      deleteSlowly(by, id)()
    },
    deleteSlowly,
  }
}

/** without the zeros behind */
function textOf(bytes: Buffer): string {
  const end = bytes.indexOf(0)
  return bytes.subarray(0, end < 0 ? bytes.length : end).toString()
}

export async function wholeOf(bytes: ReadableStream<Uint8Array>): Promise<Buffer> {
  const chunks: Uint8Array[] = []
  for await (const chunk of bytes) chunks.push(chunk)
  return Buffer.concat(chunks)
}
