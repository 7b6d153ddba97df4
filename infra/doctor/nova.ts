import * as z from 'zod/mini'
import { type Answer, decode, refusal, type Service } from '../../shared/adapters/http.ts'
import { microversion } from '../../shared/adapters/nova.ts'
import { openstack } from '../../shared/adapters/openstack.ts'
import type { Site } from './site.ts'
import { fail, NotAsked, ok, type Verdict, warn } from './verdict.ts'

const service: Service = { name: 'Nova', unreachable: 'NOVA_UNREACHABLE', refused: 'NOVA_REFUSED' }

const serversShape = z.object({
  servers: z.array(
    z.object({
      id: z.string(),
      tenant_id: z.optional(z.string()),
      tags: z.optional(z.array(z.string())),
      'OS-EXT-SRV-ATTR:host': z.optional(z.nullable(z.string())),
      flavor: z.optional(z.object({ disk: z.optional(z.number()) })),
      image: z.optional(z.union([z.object({ id: z.string() }), z.literal('')])),
    }),
  ),
})
const servicesShape = z.object({
  services: z.array(z.object({ host: z.string(), state: z.string(), status: z.string() })),
})

/** Of all projects, with tags and host: what a run reads of its instance. */
export async function servers(site: Site, signal: AbortSignal): Promise<Verdict> {
  const answer = await get(site, '/servers/detail?all_tenants=1&limit=20', signal)
  if (answer.status === 406)
    return fail(
      `Nova does not speak ${microversion}: ${refusal(service, 'servers', answer).words}`,
      'Train or newer is needed.',
    )
  if (answer.status === 403)
    return fail(refusal(service, 'servers', answer).words, 'Nova shows servers of all projects to the role admin.')
  const found = await serversOf(site, signal)
  const first = found[0]
  if (!first) return ok(`microversion ${microversion}; there is no server yet`)
  const hidden = [
    ...(first.tags === undefined ? ['tags'] : []),
    ...(first['OS-EXT-SRV-ATTR:host'] === undefined ? ['host'] : []),
  ]
  if (hidden.length === 0) return ok(`microversion ${microversion}; servers of all projects, with tags and host`)
  return fail(
    `Nova hides ${hidden.join(' and ')} of servers`,
    'os_compute_api:os-extended-server-attributes is for the role admin.',
  )
}

/** Whose disk should be in Ceph: booted from an image. */
export async function serversOf(site: Site, signal: AbortSignal) {
  return site.once('servers', async () => {
    const answer = await get(site, '/servers/detail?all_tenants=1&limit=20', signal)
    if (answer.status !== 200) throw refusal(service, 'servers', answer)
    return decode(serversShape, service, 'servers', answer).servers
  })
}

export async function computes(site: Site, signal: AbortSignal): Promise<Verdict> {
  const { up, down } = await computesOf(site, signal)
  if (up.length === 0 && down.length === 0) return warn('Nova knows no compute', 'Is it the right region?')
  const said = `${up.length} up: ${few(up)}`
  if (down.length === 0) return ok(said)
  return warn(
    `${said}; ${down.length} down: ${few(down)}`,
    'Guests there cannot be frozen: `openstack compute service list`.',
  )
}

export async function computesOf(site: Site, signal: AbortSignal): Promise<{ up: string[]; down: string[] }> {
  return site.once('computes', async () => {
    const answer = await get(site, '/os-services?binary=nova-compute', signal)
    if (answer.status === 403 || answer.status === 404)
      throw new NotAsked('Nova does not tell us its services', 'os_compute_api:os-services is for the role admin.')
    if (answer.status !== 200) throw refusal(service, 'services', answer)
    const all = decode(servicesShape, service, 'services', answer).services
    const hosts = (state: string) => all.filter((one) => one.state === state).map((one) => one.host)
    return { up: hosts('up'), down: hosts('down') }
  })
}

/** A cloud may have hundreds. */
const few = (names: string[]) => `${names.slice(0, 5).join(', ')}${names.length > 5 ? ', ...' : ''}`

function get(site: Site, path: string, signal: AbortSignal): Promise<Answer> {
  const send = openstack(site.identity(), service, (s) => site.identity().endpoint('compute', s))
  const headers = { 'openstack-api-version': `compute ${microversion}`, 'x-openstack-nova-api-version': microversion }
  return send({ what: path, method: 'GET', path, headers, signal })
}
