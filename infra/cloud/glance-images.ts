import type { Token } from './keystone-tokens.ts'

/** Who asks, as far as Glance's policies look. */
export type Who = Pick<Token, 'projectId' | 'roles'>

export const isAdmin = (who: Who) => who.roles.includes('admin')

export interface ImageRow {
  id: string
  name: string | null
  status: 'queued' | 'saving' | 'importing' | 'active' | 'deleted'
  owner: string
  visibility: 'public' | 'private' | 'shared' | 'community'
  protected: boolean
  os_hidden: boolean
  disk_format: string | null
  container_format: string | null
  min_disk: number
  min_ram: number
  size: number | null
  virtual_size: number | null
  checksum: string | null
  os_hash_algo: string | null
  os_hash_value: string | null
  tags: string[]
  /** everything that is not one of Glance's own fields */
  properties: Record<string, string>
  locations: { url: string; metadata: Record<string, string> }[]
  createdAtMs: number
  updatedAtMs: number
}

/** An answer that is not the wish; `message` is what Glance puts into its error page. */
export class GlanceRefusal extends Error {
  readonly status: number

  constructor(status: number, message: string) {
    super(message)
    this.status = status
  }
}

export const noImage = (id: string) => new GlanceRefusal(404, `No image found with ID ${id}`)

export function blankImage(id: string, owner: string, createdAtMs: number): ImageRow {
  return {
    id,
    name: null,
    status: 'queued',
    owner,
    visibility: 'shared',
    protected: false,
    os_hidden: false,
    disk_format: null,
    container_format: null,
    min_disk: 0,
    min_ram: 0,
    size: null,
    virtual_size: null,
    checksum: null,
    os_hash_algo: null,
    os_hash_value: null,
    tags: [],
    properties: {},
    locations: [],
    createdAtMs,
    updatedAtMs: createdAtMs,
  }
}

/** Fields that a client may set; the value says whether it fits. */
const writable: Record<string, (value: unknown) => boolean> = {
  name: (value) => value === null || (typeof value === 'string' && value.length <= 255),
  owner: (value) => typeof value === 'string',
  visibility: oneOf('public private shared community'),
  protected: (value) => typeof value === 'boolean',
  os_hidden: (value) => typeof value === 'boolean',
  disk_format: oneOf('ami ari aki vhd vhdx vmdk raw qcow2 vdi iso ploop', null),
  container_format: oneOf('ami ari aki bare ovf ova docker compressed', null),
  min_disk: isCount,
  min_ram: isCount,
  tags: (value) => Array.isArray(value) && value.every((tag) => typeof tag === 'string'),
}
const readOnly = new Set(
  'status size virtual_size checksum os_hash_algo os_hash_value created_at updated_at file self schema direct_url'.split(
    ' ',
  ),
)
const reserved = new Set(['deleted', 'deleted_at', 'is_public', 'location', 'properties', 'stores'])

function oneOf(words: string, ...more: unknown[]) {
  const allowed = new Set<unknown>([...words.split(' '), ...more])
  return (value: unknown) => allowed.has(value)
}

function isCount(value: unknown): boolean {
  return Number.isInteger(value) && Number(value) >= 0
}

export function checkSettable(name: string): void {
  if (readOnly.has(name) || name === 'id') throw new GlanceRefusal(403, `Attribute '${name}' is read-only.`)
  if (reserved.has(name)) throw new GlanceRefusal(403, `Attribute '${name}' is reserved.`)
}

/** Sets one field or property, by Glance's schema and rules. `id` and `locations` have calls of their own. */
export function setField(image: ImageRow, name: string, value: unknown): void {
  checkSettable(name)
  const isFormat = name === 'disk_format' || name === 'container_format'
  if (isFormat && !['queued', 'importing'].includes(image.status))
    throw new GlanceRefusal(403, `Attribute ${name} can be only replaced for a queued image.`)
  const check = writable[name]
  if (check ? !check(value) : typeof value !== 'string')
    throw new GlanceRefusal(400, `Provided object does not match schema 'image': ${JSON.stringify(value)} at ${name}`)
  if (check) Object.assign(image, { [name]: value })
  else image.properties[name] = value as string
}

/** `false` when there is no such property. */
export function unsetField(image: ImageRow, name: string): boolean {
  if (readOnly.has(name) || reserved.has(name) || name in writable || name === 'id')
    throw new GlanceRefusal(403, `Property ${name} may not be removed.`)
  if (!(name in image.properties)) return false
  Reflect.deleteProperty(image.properties, name)
  return true
}

export const hasField = (image: ImageRow, name: string) => name in writable || name in image.properties

const time = (ms: number) => `${new Date(ms).toISOString().slice(0, 19)}Z`

/** `showsLocations` is the endpoint's show_multiple_locations, which also brings direct_url. */
export function shown(image: ImageRow, showsLocations: boolean) {
  const { properties, locations, createdAtMs, updatedAtMs, ...own } = image
  const first = locations[0]
  return {
    ...properties,
    ...own,
    created_at: time(createdAtMs),
    updated_at: time(updatedAtMs),
    self: `/v2/images/${image.id}`,
    file: `/v2/images/${image.id}/file`,
    schema: '/v2/schemas/image',
    ...(image.status === 'active' ? { stores: 'rbd' } : {}),
    ...(showsLocations ? { locations } : {}),
    ...(showsLocations && first ? { direct_url: first.url } : {}),
  }
}

export function maySee(who: Who, image: ImageRow): boolean {
  if (image.status === 'deleted') return false
  return isAdmin(who) || image.owner === who.projectId || ['public', 'community'].includes(image.visibility)
}
