import * as z from 'zod/mini'
import type { Image } from '../ports/images.ts'
import { byteCount, type Service } from './http.ts'

export const service: Service = { name: 'Glance', unreachable: 'GLANCE_UNREACHABLE', refused: 'GLANCE_REFUSED' }

/** Glance's own fields (glance/api/v2/images.py get_base_properties); everything else in an answer is a property. */
const ownFields = new Set([
  'id',
  'name',
  'status',
  'visibility',
  'owner',
  'protected',
  'min_disk',
  'min_ram',
  'size',
  'virtual_size',
  'checksum',
  'os_hash_algo',
  'os_hash_value',
  'os_hidden',
  'disk_format',
  'container_format',
  'tags',
  'created_at',
  'updated_at',
  'self',
  'file',
  'schema',
  'locations',
  'direct_url',
  'stores',
])

export const imageShape = z.looseObject({
  id: z.string(),
  name: z.nullable(z.string()),
  status: z.enum([
    'queued',
    'saving',
    'importing',
    'active',
    'deactivated',
    'killed',
    'deleted',
    'pending_delete',
    'uploading',
  ]),
  owner: z.nullable(z.string()),
  protected: z.boolean(),
  visibility: z.optional(z.string()),
  size: z.nullable(byteCount),
  virtual_size: z.optional(z.nullable(byteCount)),
  checksum: z.optional(z.nullable(z.string())),
  created_at: z.string(),
  updated_at: z.string(),
  locations: z.optional(z.array(z.object({ url: z.string() }))),
  direct_url: z.optional(z.string()),
  stores: z.optional(z.string()),
})

export const pageShape = z.object({ images: z.array(imageShape), next: z.optional(z.string()) })

export function toImage(shown: z.infer<typeof imageShape>): Image {
  return {
    id: shown.id,
    name: shown.name,
    status: shown.status,
    owner: shown.owner ?? '',
    isProtected: shown.protected,
    isPrivate: shown.visibility === 'private',
    sizeBytes: shown.size,
    virtualSizeBytes: shown.virtual_size ?? null,
    checksum: shown.checksum ?? null,
    createdAtMs: Date.parse(shown.created_at),
    updatedAtMs: Date.parse(shown.updated_at),
    locations: urls(shown),
    stores: shown.stores?.split(',').filter((store) => store !== '') ?? [],
    properties: properties(shown),
  }
}

/** `locations` needs show_multiple_locations, `direct_url` show_image_direct_url; either may be hidden. */
function urls(shown: z.infer<typeof imageShape>): string[] {
  if (shown.locations) return shown.locations.map((location) => location.url)
  return shown.direct_url === undefined ? [] : [shown.direct_url]
}

function properties(shown: Record<string, unknown>): Record<string, string> {
  const extra = Object.entries(shown).filter(([name, value]) => !ownFields.has(name) && value !== null)
  return Object.fromEntries(
    extra.map(([name, value]) => [name, typeof value === 'string' ? value : JSON.stringify(value)]),
  )
}
