import { randomUUID } from 'node:crypto'
import {
  blankImage,
  GlanceRefusal,
  type ImageRow,
  isAdmin,
  maySee,
  noImage,
  setField,
  shown,
  type Who,
} from './glance-images.ts'
import { listImages } from './glance-list.ts'
import { checkLocation, readValidation } from './glance-locations.ts'
import { applyPatch } from './glance-patch.ts'
import { type RbdStore, type Stored, StoreError } from './glance-store.ts'
import type { Records } from './records.ts'

/** What an operator sets in glance-api.conf. 0 means unlimited. */
export interface GlanceSettings {
  /** show_multiple_locations of the public and of the internal endpoint; a cloud may run glance-api twice */
  showLocations: { public: boolean; internal: boolean }
  /** the location API of 2024.2 */
  hasLocationApi: boolean
  imageSizeCap: number
  maxImagesPerProject: number
  maxBytesPerProject: number
  /** how long the data of an image takes to go, within the DELETE: every object is asked for where there is no object-map */
  deleteMs: number
}

const usualGlance: GlanceSettings = {
  showLocations: { public: true, internal: true },
  hasLocationApi: false,
  imageSizeCap: 1_099_511_627_776,
  maxImagesPerProject: 0,
  maxBytesPerProject: 0,
  deleteMs: 0,
}

export type Endpoint = keyof GlanceSettings['showLocations']

const uuid = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i

/** Glance without its HTTP: Nova's own work goes in here, past the faults that are meant for others. */
export function glanceService(records: Records, store: RbdStore) {
  const images = records.table<ImageRow>('image')
  const settings = records.table<GlanceSettings>('glance-settings')
  const timers = new Set<NodeJS.Timeout>()
  const current = () => ({ ...usualGlance, ...settings.get('') })

  function visible(who: Who, id: string): ImageRow {
    const image = images.get(id)
    if (!image || !maySee(who, image)) throw noImage(id)
    return image
  }

  function changeable(who: Who, id: string): ImageRow {
    const image = visible(who, id)
    if (!isAdmin(who) && image.owner !== who.projectId)
      throw new GlanceRefusal(403, 'You are not permitted to modify this image.')
    return image
  }

  const save = (image: ImageRow) => images.put(image.id, { ...image, updatedAtMs: Date.now() })
  const ownedBy = (owner: string) => images.all().filter((image) => image.owner === owner && image.status !== 'deleted')

  function create(who: Who, body: unknown): ImageRow {
    if (typeof body !== 'object' || body === null || Array.isArray(body))
      throw new GlanceRefusal(400, "Provided object does not match schema 'image'")
    const { id = randomUUID(), owner = who.projectId, tags = [], ...fields } = body as Record<string, unknown>
    if (typeof id !== 'string' || !uuid.test(id)) throw new GlanceRefusal(400, `Invalid image id format`)
    if (!isAdmin(who) && owner !== who.projectId)
      throw new GlanceRefusal(403, `You are not permitted to create images owned by '${String(owner)}'.`)
    if (fields['visibility'] === 'public' && !isAdmin(who))
      throw new GlanceRefusal(403, 'You are not authorized to complete publicize_image action.')
    if ('locations' in fields) throw new GlanceRefusal(403, "Attribute 'locations' is reserved.")
    const image = blankImage(id, String(owner), Date.now())
    for (const [name, value] of Object.entries({ ...fields, tags })) setField(image, name, value)
    // the row of a deleted image stays in the database: its id is never free again
    if (images.get(id)) throw new GlanceRefusal(409, `Image ID ${id} already exists!`)
    const { maxImagesPerProject } = current()
    if (maxImagesPerProject > 0 && ownedBy(image.owner).length >= maxImagesPerProject)
      throw new GlanceRefusal(413, `Project ${image.owner} is over a limit for image_count_total`)
    images.put(id, image)
    return image
  }

  async function patch(who: Who, id: string, body: unknown, endpoint: Endpoint): Promise<ImageRow> {
    const context = { who, store, showsLocations: current().showLocations[endpoint] }
    const attempt = () => {
      const image = changeable(who, id)
      return { image, dropped: applyPatch(image, body, context) }
    }
    const first = attempt()
    for (const url of first.dropped) await fromStore(id, store.remove(url))
    // nothing may come between reading the row and writing it: after a wait it is read again
    const { image } = first.dropped.length > 0 ? attempt() : first
    const { maxBytesPerProject } = current()
    if (maxBytesPerProject > 0 && usedBytes(image) > maxBytesPerProject)
      throw new GlanceRefusal(413, 'Denying attempt to upload image because it exceeds the quota')
    save(image)
    return image
  }

  const usedBytes = (image: ImageRow) =>
    ownedBy(image.owner)
      .filter((other) => other.id !== image.id)
      .reduce((sum, other) => sum + (other.size ?? 0), image.size ?? 0)

  /** The data goes first and the row after it, so a refusal by the store leaves the image as it was. */
  async function remove(who: Who, id: string): Promise<void> {
    const image = changeable(who, id)
    if (image.protected) throw new GlanceRefusal(403, `Image ${id} is protected and cannot be deleted.`)
    for (const { url } of image.locations) await fromStore(id, store.remove(url, current().deleteMs))
    const now = images.get(id)
    if (now && now.status !== 'deleted') save({ ...now, status: 'deleted', locations: [] })
  }

  async function upload(who: Who, id: string, source: AsyncIterable<Uint8Array>, known: number | null): Promise<void> {
    const image = changeable(who, id)
    if (image.status !== 'queued')
      throw new GlanceRefusal(409, `Image status transition from ${image.status} to saving is not allowed`)
    const unset = (['disk_format', 'container_format'] as const).filter((name) => image[name] === null)
    if (unset.length > 0)
      throw new GlanceRefusal(400, `Properties ${unset.join(', ')} must be set prior to saving data.`)
    save({ ...image, status: 'saving' })
    const stored = await store.add(id, source, known, capFor(image)).catch((error: unknown) => {
      const now = images.get(id)
      if (now?.status === 'saving') save({ ...now, status: 'queued' })
      throw asRefusal(id, error)
    })
    await finishUpload(id, stored)
  }

  function capFor(image: ImageRow): number {
    const { imageSizeCap, maxBytesPerProject } = current()
    const left = maxBytesPerProject > 0 ? maxBytesPerProject - usedBytes({ ...image, size: 0 }) : Infinity
    return Math.min(imageSizeCap > 0 ? imageSizeCap : Infinity, Math.max(0, left))
  }

  async function finishUpload(id: string, stored: Stored): Promise<void> {
    const now = images.get(id)
    if (now?.status !== 'saving') {
      await store.remove(stored.url)
      throw new GlanceRefusal(
        410,
        `Image ${id} could not be found after upload. The image may have been deleted during the upload, cleaning up the chunks uploaded.`,
      )
    }
    save({
      ...now,
      status: 'active',
      size: stored.sizeBytes,
      virtual_size: now.disk_format === 'qcow2' ? stored.virtualSizeBytes : stored.sizeBytes,
      checksum: stored.md5,
      os_hash_algo: 'sha512',
      os_hash_value: stored.sha512,
      locations: [{ url: stored.url, metadata: { store: 'rbd' } }],
    })
  }

  /** POST /v2/images/{id}/locations of 2024.2: accepted now, active a moment later. */
  function acceptLocation(who: Who, id: string, body: unknown) {
    const image = changeable(who, id)
    if (image.status !== 'queued')
      throw new GlanceRefusal(409, `Only images with status 'queued' can be imported, not ${image.status}`)
    const { url, validation_data } = (body ?? {}) as Record<string, unknown>
    if (typeof url !== 'string') throw new GlanceRefusal(400, 'url is a required property')
    const size = checkLocation(image, url, store)
    const hashes = validation_data === undefined ? {} : readValidation(image, validation_data)
    const location = { url, metadata: { store: 'rbd' } }
    save({ ...image, ...hashes, status: 'importing', size, locations: [location] })
    activateSoon(id)
    return location
  }

  function activateSoon(id: string) {
    const timer = setTimeout(() => {
      timers.delete(timer)
      const now = images.get(id)
      if (now?.status === 'importing') save({ ...now, status: 'active' })
    }, 150)
    timers.add(timer)
  }

  for (const image of images.all()) if (image.status === 'importing') activateSoon(image.id)

  return {
    store,
    settings: current,
    set: (change: Partial<GlanceSettings>) => settings.put('', { ...current(), ...change }),
    create,
    /** a row as it is, for the world that was there before this cloud was started */
    seed: (image: ImageRow) => images.put(image.id, image),
    all: () => images.all(),
    show: visible,
    view: (image: ImageRow, endpoint: Endpoint) => shown(image, current().showLocations[endpoint]),
    list: (who: Who, query: URLSearchParams, endpoint: Endpoint) =>
      listImages(images.all(), who, query, current().showLocations[endpoint]),
    patch,
    remove,
    upload,
    acceptLocation,
    close() {
      for (const timer of timers) clearTimeout(timer)
    },
  }
}
export type GlanceService = ReturnType<typeof glanceService>

const fromStore = (id: string, work: Promise<void>) =>
  work.catch((error: unknown) => {
    throw asRefusal(id, error)
  })

function asRefusal(id: string, error: unknown): unknown {
  if (!(error instanceof StoreError)) return error
  if (error.is === 'InUseByStore')
    return new GlanceRefusal(
      409,
      `Image ${id} could not be deleted because it is in use: The image cannot be deleted because it is in use through the backend store outside of Glance.`,
    )
  // Glance does not know glance_store's Duplicate: a bare 500
  if (error.is === 'Duplicate')
    return new GlanceRefusal(500, 'The server has either erred or is incapable of performing the requested operation.')
  if (error.is === 'TooLarge')
    return new GlanceRefusal(413, `Image ${id} exceeds the size limit or the quota: the upload was stopped`)
  return new GlanceRefusal(400, `The data of image ${id} ended early or is longer than its Content-Length`)
}
