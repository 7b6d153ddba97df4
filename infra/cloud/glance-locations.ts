import { GlanceRefusal, type ImageRow } from './glance-images.ts'
import type { RbdStore } from './glance-store.ts'

interface Validation {
  checksum?: unknown
  os_hash_algo?: unknown
  os_hash_value?: unknown
}

/** Glance believes a location as soon as it is there: the image is active at once and no byte is read. */
export function addLocation(image: ImageRow, value: unknown, index: string | undefined, store: RbdStore): void {
  const { url, metadata, validation_data } = (value ?? {}) as Record<string, unknown>
  if (typeof url !== 'string' || typeof metadata !== 'object' || metadata === null)
    throw new GlanceRefusal(400, "Provided object does not match schema 'location': url and metadata are required")
  const at = index === '-' ? image.locations.length : Number(index)
  if (!Number.isInteger(at) || at < 0 || at > image.locations.length)
    throw new GlanceRefusal(409, `Invalid position ${String(index)}`)
  const hashes = validation_data === undefined ? {} : readValidation(image, validation_data)
  const size = checkLocation(image, url, store)
  image.locations.splice(at, 0, { url, metadata: { ...(metadata as Record<string, string>), store: 'rbd' } })
  Object.assign(image, hashes)
  if (image.status === 'queued') Object.assign(image, { status: 'active', size })
}

/** The size of what `url` names, or why it cannot be a location of this image. */
export function checkLocation(image: ImageRow, url: string, store: RbdStore): number {
  const unset = (['disk_format', 'container_format'] as const).filter((name) => image[name] === null)
  if (unset.length > 0) throw new GlanceRefusal(400, `Properties ${unset.join(', ')} must be set prior to saving data.`)
  if (image.locations.some((location) => location.url === url))
    throw new GlanceRefusal(400, `The location ${url} already exists`)
  const size = store.sizeBytes(url)
  if (size === null) throw new GlanceRefusal(400, 'Invalid location')
  return size
}

/** Stored as told: Glance does not compare it with the data. */
export function readValidation(image: ImageRow, data: unknown): Partial<ImageRow> {
  if (image.status !== 'queued')
    throw new GlanceRefusal(409, `New value(s) for validation_data may only be provided when image status is 'queued'`)
  const { checksum, os_hash_algo, os_hash_value } = (data ?? {}) as Validation
  if (os_hash_algo !== 'sha512')
    throw new GlanceRefusal(409, `os_hash_algo must be sha512, not ${String(os_hash_algo)}`)
  if (typeof os_hash_value !== 'string' || !/^[0-9a-f]{128}$/i.test(os_hash_value))
    throw new GlanceRefusal(400, 'os_hash_value is not the correct size for an os_hash_algo of sha512')
  if (checksum === undefined) return { checksum: null, os_hash_algo, os_hash_value }
  if (typeof checksum !== 'string' || !/^[0-9a-f]{32}$/i.test(checksum))
    throw new GlanceRefusal(400, 'checksum is not a MD5')
  return { checksum, os_hash_algo, os_hash_value }
}

/** Takes a location off the image and gives its URL: the RBD image behind it goes too, also when it never was this image's own. */
export function removeLocation(image: ImageRow, index: string | undefined): string {
  const location = image.locations[Number(index)]
  if (!location || !/^\d+$/.test(String(index))) throw new GlanceRefusal(404, `Invalid position ${String(index)}`)
  if (image.status === 'active' && image.locations.length === 1)
    throw new GlanceRefusal(403, 'Cannot remove last location in the image.')
  image.locations.splice(Number(index), 1)
  return location.url
}
