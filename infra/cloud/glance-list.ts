import { GlanceRefusal, type ImageRow, maySee, shown, type Who } from './glance-images.ts'

const limits = { usual: 25, most: 1000 }
const directives = new Set(['limit', 'marker', 'sort', 'sort_key', 'sort_dir', 'member_status'])

/** GET /v2/images: filters, order and pages. */
export function listImages(all: ImageRow[], who: Who, query: URLSearchParams, showsLocations: boolean) {
  const limit = readLimit(query.get('limit'))
  const found = all
    .filter((image) => maySee(who, image) && isListed(image, who, query))
    .filter((image) => [...query].every(([name, wanted]) => directives.has(name) || fits(image, name, wanted)))
    .sort(order(query))
  const marker = query.get('marker')
  const from = marker === null ? 0 : found.findIndex((image) => image.id === marker) + 1
  if (marker !== null && from === 0) throw new GlanceRefusal(400, 'Invalid marker')
  const page = found.slice(from, from + limit)
  const last = page.at(-1)
  const first = withoutMarker(query)
  return {
    images: page.map((image) => shown(image, showsLocations)),
    first: `/v2/images${first.size > 0 ? `?${first.toString()}` : ''}`,
    schema: '/v2/schemas/images',
    ...(last && from + limit < found.length ? { next: nextPage(first, last.id) } : {}),
  }
}

function readLimit(text: string | null): number {
  const limit = text === null ? limits.usual : Number(text)
  if (!Number.isInteger(limit) || limit < 0) throw new GlanceRefusal(400, 'limit param must be an integer')
  return Math.min(limit, limits.most)
}

/** Another project's community images are shown by id, not in lists. */
function isListed(image: ImageRow, who: Who, query: URLSearchParams): boolean {
  if (image.os_hidden && query.get('os_hidden') !== 'true') return false
  return image.visibility !== 'community' || image.owner === who.projectId || query.get('visibility') === 'community'
}

function fits(image: ImageRow, name: string, wanted: string): boolean {
  if (name === 'visibility' && wanted === 'all') return true
  if (name === 'tag') return image.tags.includes(wanted)
  if (name === 'size_min') return (image.size ?? 0) >= Number(wanted)
  if (name === 'size_max') return (image.size ?? 0) <= Number(wanted)
  const value: unknown = (shown(image, false) as Record<string, unknown>)[name]
  if (value === undefined || value === null) return false
  if (wanted.startsWith('in:')) return wanted.slice(3).split(',').includes(scalar(value))
  return scalar(value) === wanted
}

const scalar = (value: unknown) => (typeof value === 'string' ? value : JSON.stringify(value))

function order(query: URLSearchParams): (a: ImageRow, b: ImageRow) => number {
  const asked = query.get('sort') ?? query.get('sort_key') ?? 'created_at'
  const keys = asked.split(',').map((key) => {
    const [name = 'created_at', direction = query.get('sort_dir') ?? 'desc'] = key.split(':')
    return { name, sign: direction === 'asc' ? 1 : -1 }
  })
  return (a, b) => {
    for (const { name, sign } of [...keys, { name: 'created_at', sign: -1 }, { name: 'id', sign: -1 }]) {
      const [x, y] = [sortValue(a, name), sortValue(b, name)]
      if (x !== y) return x < y ? -sign : sign
    }
    return 0
  }
}

function sortValue(image: ImageRow, name: string): string | number {
  if (name === 'created_at') return image.createdAtMs
  if (name === 'updated_at') return image.updatedAtMs
  if (name === 'size') return image.size ?? 0
  if (['id', 'name', 'status', 'disk_format', 'container_format'].includes(name))
    return image[name as 'id' | 'name' | 'status'] ?? ''
  throw new GlanceRefusal(400, `Invalid sort key: ${name}`)
}

function withoutMarker(query: URLSearchParams): URLSearchParams {
  const first = new URLSearchParams(query)
  first.delete('marker')
  return first
}

function nextPage(first: URLSearchParams, marker: string): string {
  const next = new URLSearchParams(first)
  next.set('marker', marker)
  return `/v2/images?${next.toString()}`
}
