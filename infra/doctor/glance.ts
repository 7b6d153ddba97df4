import * as z from 'zod/mini'
import { service } from '../../shared/adapters/glance-image.ts'
import { type Answer, decode, refusal } from '../../shared/adapters/http.ts'
import { openstack } from '../../shared/adapters/openstack.ts'
import { hasRole } from './keystone.ts'
import type { Site } from './site.ts'
import { fail, NotAsked, ok, type Verdict, warn } from './verdict.ts'

const versionsShape = z.object({ versions: z.array(z.object({ id: z.string() })) })
const located = z.object({ id: z.string(), locations: z.optional(z.array(z.object({ url: z.string() }))) })
const listShape = z.object({ images: z.array(located) })
const locationsShape = z.array(z.object({ url: z.string() }))
const storesShape = z.object({
  stores: z.array(
    z.object({
      id: z.string(),
      type: z.optional(z.string()),
      properties: z.optional(z.object({ pool: z.optional(z.string()) })),
    }),
  ),
})

/** Enough to find one in a store of Ceph's, where a cloud has other stores besides. */
const newest = 'limit=50&status=active&sort=created_at:desc'

export async function api(site: Site, signal: AbortSignal): Promise<Verdict> {
  const [versions] = await Promise.all([versionsOf(site, signal), list(site, signal)])
  return ok(`${await endpoint(site, signal)} speaks ${versions[0] ?? 'no version'} and lists images`)
}

/** The store's own words for where it puts images; Glance tells them to an admin since Yoga. */
export async function store(site: Site, signal: AbortSignal): Promise<Verdict> {
  const pool = site.given('RBDSNAP_GLANCE_POOL')
  const answer = await get(site, '/v2/info/stores/detail', signal)
  if (answer.status === 404) throw new NotAsked('this Glance does not tell its stores', toCompare(pool))
  if (answer.status !== 200) throw refusal(service, 'stores', answer)
  const { stores } = decode(storesShape, service, 'stores', answer)
  const said = stores.map(({ id, type, properties }) => `${id} (${type ?? '?'} ${properties?.pool ?? ''})`).join(', ')
  const isThere = stores.some(({ type, properties }) => type === 'rbd' && properties?.pool === pool)
  if (isThere) return ok(`the pool ${pool} is a store's: ${said}`)
  return fail(`no store has the pool ${pool}: ${said || 'there is none'}`, toCompare(pool))
}

const toCompare = (pool: string) =>
  `RBDSNAP_GLANCE_POOL (${pool}) must be \`rbd_store_pool\` of a store in glance-api.conf; Glance takes no location elsewhere.`

/** A clone is an image only through its location: PATCH needs `show_multiple_locations`, POST API 2.17 and the role `service`. */
export async function locations(site: Site, signal: AbortSignal): Promise<Verdict> {
  const [images, offersPost] = await Promise.all([list(site, signal), postIsOffered(site, signal)])
  if (images.some((image) => image.locations !== undefined)) return ok('shown, so they can be added by PATCH')
  if (offersPost && (await hasRole(site, 'service', signal))) return ok('hidden, and can be added by POST')
  if (offersPost)
    return fail(
      'hidden, and POST is for the role service, which we do not have',
      'Give our user the role `service` in its project.',
    )
  if (images.length === 0)
    throw new NotAsked('there is no active image to look at', 'Upload an image, then ask again; see OS_INTERFACE.')
  return fail(
    `${await endpoint(site, signal)} hides them: every snapshot becomes an upload`,
    'An endpoint for services with show_multiple_locations = true, not reachable by tenants, in OS_INTERFACE; or Glance 2024.2.',
  )
}

/** OSSN-0065: who sees locations can point an image at what is another's. */
export async function publicEndpoint(site: Site, signal: AbortSignal): Promise<Verdict> {
  const { url, images } = await publicImages(site, signal).catch((error: unknown) => {
    throw new NotAsked(`the public endpoint: ${(error as Error).message}`, 'Ask where it can be reached.')
  })
  const shows = images.some((image) => image.locations !== undefined)
  if (!shows) return ok(`${url} hides locations from tenants`)
  return warn(
    `${url} shows locations: tenants can add them too (OSSN-0065)`,
    'Show them on an endpoint of its own, for services only: show_multiple_locations = false on the public one.',
  )
}

/** Where images really are, by their locations, against the cluster that we are told to clone in. */
export async function sameCluster(site: Site, signal: AbortSignal): Promise<Verdict> {
  const fsid = site.given('RBDSNAP_CEPH_FSID').toLowerCase()
  const pool = site.given('RBDSNAP_GLANCE_POOL')
  const urls = await locationsOf(site, await list(site, signal), signal)
  const places = [
    ...new Set(urls.flatMap((url) => /^rbd:\/\/([^/]+)\/([^/]+)\//.exec(url)?.slice(1, 3).join('/') ?? [])),
  ]
  if (places.length === 0)
    throw new NotAsked('no image shows a location in Ceph', 'Upload an image into the rbd store, then ask again.')
  if (places.includes(`${fsid}/${pool}`)) return ok(`Glance has images in ${fsid}/${pool}`)
  return fail(
    `Glance has its images in ${places.join(', ')}, the settings say ${fsid}/${pool}`,
    'RBDSNAP_CEPH_FSID, RBDSNAP_CEPH_URLS and RBDSNAP_GLANCE_POOL must name the cluster and pool of that store.',
  )
}

async function publicImages(site: Site, signal: AbortSignal) {
  const url = await site.identity('public').endpoint('image', signal)
  return { url, images: await list(site, signal, url) }
}

type Located = z.infer<typeof located>

async function locationsOf(site: Site, images: Located[], signal: AbortSignal): Promise<string[]> {
  const shown = images.flatMap((image) => image.locations ?? [])
  if (shown.length > 0 || !images[0] || !(await postIsOffered(site, signal))) return shown.map(({ url }) => url)
  const answer = await get(site, `/v2/images/${images[0].id}/locations`, signal)
  return answer.status === 200 ? decode(locationsShape, service, 'locations', answer).map(({ url }) => url) : []
}

async function list(site: Site, signal: AbortSignal, base?: string): Promise<Located[]> {
  return site.once(`images ${base ?? ''}`, async () => {
    const answer = await get(site, `/v2/images?${newest}`, signal, base)
    if (answer.status !== 200) throw refusal(service, 'images', answer)
    return decode(listShape, service, 'images', answer).images
  })
}

async function versionsOf(site: Site, signal: AbortSignal): Promise<string[]> {
  return site.once('glance versions', async () => {
    const answer = await get(site, '/versions', signal)
    return decode(versionsShape, service, 'versions', answer).versions.map(({ id }) => id)
  })
}

async function postIsOffered(site: Site, signal: AbortSignal): Promise<boolean> {
  return (await versionsOf(site, signal)).some((id) => Number(/^v2\.(\d+)$/.exec(id)?.[1] ?? 0) >= 17)
}

async function endpoint(site: Site, signal: AbortSignal): Promise<string> {
  return (await site.identity().endpoint('image', signal)).replace(/\/v2$/, '')
}

function get(site: Site, path: string, signal: AbortSignal, base?: string): Promise<Answer> {
  const at = async () => base?.replace(/\/v2\/*$/, '') ?? endpoint(site, signal)
  return openstack(site.identity(), service, at)({ what: path, method: 'GET', path, signal })
}
