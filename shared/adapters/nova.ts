import * as z from 'zod/mini'
import { Failure } from '../failures.ts'
import type { Compute, Server } from '../ports/compute.ts'
import { decode, mustBeAsked, parseJson, refusal, type Service } from './http.ts'
import type { Identity } from './keystone.ts'
import { openstack } from './openstack.ts'
import { allPages } from './pages.ts'

const service: Service = { name: 'Nova', unreachable: 'NOVA_UNREACHABLE', refused: 'NOVA_REFUSED' }

/** 2.26 shows tags, 2.47 puts the flavor's disk size into the server; 2.79 is Train, the oldest that is still in use. */
export const microversion = '2.79'
/** It is asked for each stop of each server: a Nova that hangs must not keep those from the door who wait behind it. */
const bearsMs = 3_000
const headers = { 'openstack-api-version': `compute ${microversion}`, 'x-openstack-nova-api-version': microversion }

const serverShape = z.object({
  id: z.string(),
  name: z.string(),
  tenant_id: z.string(),
  user_id: z.string(),
  /** an empty string for a volume-backed server */
  image: z.union([z.object({ id: z.string() }), z.literal('')]),
  flavor: z.object({ disk: z.number().check(z.nonnegative()) }),
  tags: z.optional(z.array(z.string())),
  'OS-EXT-STS:vm_state': z.string(),
  'OS-EXT-STS:task_state': z.nullable(z.string()),
  'OS-EXT-SRV-ATTR:host': z.optional(z.nullable(z.string())),
})
/**
 * What nova-api knows by itself of a server whose cell does not answer, with 200 and from 2.69 on (api-guide, "Handling Down
 * Cells"): neither its name nor its state.
 */
const outOfReach = z.object({
  id: z.string(),
  status: z.literal('UNKNOWN'),
  'OS-EXT-STS:vm_state': z.optional(z.never()),
})
const shown = z.object({ server: serverShape })
const shownOutOfReach = z.object({ server: outOfReach })
const briefly = z.object({ servers: z.array(z.object({ id: z.string() })) })
const listed = z.object({
  servers: z.array(z.union([serverShape, outOfReach])),
  servers_links: z.optional(z.array(z.object({ rel: z.string() }))),
})

export interface NovaOptions {
  /** instead of the catalogue's */
  endpoint?: string | undefined
}

export function nova(identity: Identity, options: NovaOptions = {}): Compute {
  const base = async (signal: AbortSignal) =>
    options.endpoint?.replace(/\/+$/, '') ?? (await identity.endpoint('compute', signal))
  const send = openstack(identity, service, base)

  return {
    async find(instance, signal) {
      const what = `instance ${instance}`
      const path = `/servers/${encodeURIComponent(instance)}`
      const answer = await send({ what, method: 'GET', path, headers, signal })
      if (answer.status === 404) return null
      if (answer.status !== 200) throw refusal(service, what, answer)
      if (shownOutOfReach.safeParse(parseJson(answer.text)).success)
        throw new Failure('NOVA_UNREACHABLE', `${what}: its cell is down`)
      const { server } = decode(shown, service, what, answer)
      mustBeAsked(what, instance, server.id)
      return toServer(server)
    },

    async bears(instance, tag, signal) {
      const what = `tag ${tag} of instance ${instance}`
      const answer = await send({
        what,
        method: 'GET',
        path: tagPath(instance, tag),
        headers,
        timeoutMs: bearsMs,
        signal,
      })
      if (answer.status === 204) return true
      if (answer.status === 404) return false
      throw refusal(service, what, answer)
    },

    async usesImage(image, signal) {
      const what = `servers made from image ${image}`
      // without soft_deleted Nova leaves out what is in the bin (nova/db/main/api.py instance_get_all_by_filters_sort)
      const query = new URLSearchParams({ all_tenants: '1', soft_deleted: '1', limit: '1', image })
      const answer = await send({ what, method: 'GET', path: `/servers?${query.toString()}`, headers, signal })
      if (answer.status !== 200) throw refusal(service, what, answer)
      return decode(briefly, service, what, answer).servers.length > 0
    },

    async tagged(tag, signal) {
      const what = `servers tagged ${tag}`
      const servers = await allPages(what, async (marker) => {
        const query = new URLSearchParams({ all_tenants: '1', 'tags-any': tag, ...(marker ? { marker } : {}) })
        const path = `/servers/detail?${query.toString()}`
        const answer = await send({ what, method: 'GET', path, headers, signal })
        if (answer.status !== 200) throw refusal(service, what, answer)
        const page = decode(listed, service, what, answer)
        const isLast = !page.servers_links?.some((link) => link.rel === 'next')
        // one whose cell is down is found when it is up again
        const items = page.servers.flatMap((server) => ('name' in server ? [toServer(server)] : []))
        return { items, next: isLast ? undefined : page.servers.at(-1)?.id }
      })
      // `tags-any` takes a list: a tag that reads like one would find others
      return servers.filter((server) => server.tags.includes(tag))
    },

    async ensureTagAbsent(instance, tag, signal) {
      const what = `tag ${tag} of instance ${instance}`
      const answer = await send({ what, method: 'DELETE', path: tagPath(instance, tag), headers, signal })
      if (answer.status === 204 || answer.status === 404) return
      // 409: not in this state of the instance (nova/api/openstack/compute/server_tags.py); it may leave it again
      throw refusal(service, what, answer, { 409: 'NOVA_UNREACHABLE' })
    },
  }
}

const tagPath = (instance: string, tag: string) =>
  `/servers/${encodeURIComponent(instance)}/tags/${encodeURIComponent(tag)}`

function toServer(s: z.infer<typeof serverShape>): Server {
  return {
    id: s.id,
    name: s.name,
    project: s.tenant_id,
    user: s.user_id,
    vmState: s['OS-EXT-STS:vm_state'],
    taskState: s['OS-EXT-STS:task_state'],
    host: s['OS-EXT-SRV-ATTR:host'] ?? null,
    rootGib: s.flavor.disk,
    baseImage: s.image === '' ? null : s.image.id,
    tags: s.tags ?? [],
  }
}
