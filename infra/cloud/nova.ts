import { randomUUID } from 'node:crypto'
import { GlanceRefusal } from './glance-images.ts'
import { type Answer, type Faults, type Request, serve } from './http.ts'
import type { Token } from './keystone-tokens.ts'
import { createImage, finishPowerAction, powerActions, startPowerAction } from './nova-actions.ts'
import type { NovaCore } from './nova-core.ts'
import { deleteInstance } from './nova-delete.ts'
import { contextOf, type Instance, notFound, NovaRefusal, type RequestContext } from './nova-instances.ts'
import { serverTags } from './nova-tags.ts'
import { briefServer, shownAction, shownActionWithEvents, shownServer, statusOf } from './nova-views.ts'

const newest = 93

interface Call {
  request: Request
  who: Token
  context: RequestContext
  /** the minor of 2.x */
  minor: number
  base: string
  isAdmin: boolean
}

/** Nova v2.1 (Zed): microversions 2.1 to 2.93 */
export async function startNova(options: {
  nova: NovaCore
  port: number
  faults: Faults
  authUrl: string
  glanceUrl: string
  validate: (token: string | undefined) => Token | null
}) {
  const { nova } = options

  function find(call: Call, id: string): Instance {
    const instance = nova.get(id)
    if (!call.isAdmin && instance.project !== call.who.projectId) throw notFound(id)
    return instance
  }

  function list(call: Call, isDetailed: boolean): Answer {
    const { query } = call.request
    const allTenants = ['1', 'true', 'True'].includes(query.get('all_tenants') ?? '')
    if (allTenants && !call.isAdmin)
      throw new NovaRefusal(403, "Policy doesn't allow os_compute_api:servers:detail:get_all_tenants to be performed.")
    const found = nova.instances
      .all()
      .filter((instance) => instance.vmState !== 'deleted' && (allTenants || instance.project === call.who.projectId))
      // nova/db/main/api.py instance_get_all_by_filters_sort
      .filter((instance) => instance.vmState !== 'soft-delete' || query.get('soft_deleted') === '1')
      .filter((instance) => fits(instance, query))
      .sort((a, b) => b.createdAtMs - a.createdAtMs || (a.id < b.id ? 1 : -1))
    const limit = Math.min(Number(query.get('limit') ?? 1000), 1000)
    const marker = query.get('marker')
    const from = marker === null ? 0 : found.findIndex((instance) => instance.id === marker) + 1
    if (marker !== null && from === 0) throw new NovaRefusal(400, `marker [${marker}] not found`)
    const page = found.slice(from, from + limit)
    const last = page.at(-1)
    const show = (instance: Instance) =>
      isDetailed ? shownServer(instance, call.base, call.minor, call.isAdmin) : briefServer(instance, call.base)
    const next = new URLSearchParams(query)
    if (last) next.set('marker', last.id)
    const href = `${call.base}/servers${isDetailed ? '/detail' : ''}?${next.toString()}`
    const links = last && from + limit < found.length ? { servers_links: [{ rel: 'next', href }] } : {}
    return { status: 200, body: { servers: page.map(show), ...links } }
  }

  function act(call: Call, id: string): Answer {
    const instance = find(call, id)
    const body = readJson(call.request.body) as Record<string, unknown>
    const [name = '', ...more] = Object.keys(body)
    if (more.length > 0) throw new NovaRefusal(400, 'Only one action is allowed in a request')
    if (name in powerActions) {
      startPowerAction(nova, instance, name, call.context)
      return { status: 202 }
    }
    if (name !== 'createImage') throw new NovaRefusal(400, `There is no such action: ${name}`)
    const wish = (body[name] ?? {}) as { name?: unknown; metadata?: Record<string, string> }
    if (typeof wish.name !== 'string' || wish.name === '')
      throw new NovaRefusal(400, "Invalid input for field/attribute createImage: 'name' is a required property")
    const image = createImage(
      nova,
      instance,
      { name: wish.name, metadata: wish.metadata ?? {} },
      call.who,
      call.context,
    )
    const headers = { location: `${options.glanceUrl}/v2/images/${image}` }
    return call.minor >= 45 ? { status: 202, body: { image_id: image } } : { status: 202, headers }
  }

  function remove(call: Call, id: string): Answer {
    const instance = find(call, id)
    if (instance.taskState === 'deleting') return { status: 204 }
    nova.beginAction(id, 'delete', call.context)
    nova.save(id, { taskState: 'deleting' }, call.context, 'api')
    nova.background(() => deleteInstance(nova, id, call.context))
    return { status: 204 }
  }

  function actionsOf(call: Call, id: string, requestId: string | undefined): Answer {
    find(call, id)
    const actions = nova.actionsOf(id)
    if (requestId === undefined) return { status: 200, body: { instanceActions: actions.map(shownAction) } }
    const action = actions.find((candidate) => candidate.requestId === requestId)
    if (!action) throw new NovaRefusal(404, `Action ${requestId} not found`)
    return { status: 200, body: { instanceAction: shownActionWithEvents(action) } }
  }

  function computes(call: Call): Answer {
    if (!call.isAdmin)
      throw new NovaRefusal(403, "Policy doesn't allow os_compute_api:os-services:list to be performed.")
    const hosts = new Set(nova.instances.all().flatMap(({ host }) => (host === null ? [] : [host])))
    const service = (host: string) => ({
      ...{ id: randomUUID(), binary: 'nova-compute', host, zone: 'nova', status: 'enabled', state: 'up' },
      ...{ updated_at: new Date().toISOString().replace('Z', '000'), disabled_reason: null, forced_down: false },
    })
    return { status: 200, body: { services: [...hosts].sort().map(service) } }
  }

  function route(call: Call): Answer {
    const { method, path } = call.request
    const [, version, collection, id, part, rest, ...deeper] = path.split('/').map(decodeURIComponent)
    const unknown = () => new NovaRefusal(404, 'The resource could not be found.')
    if (version === 'v2.1' && method === 'GET' && collection === 'os-services' && id === undefined)
      return computes(call)
    if (version !== 'v2.1' || collection !== 'servers' || deeper.length > 0) throw unknown()
    if (method === 'GET' && (id === undefined || id === '')) return list(call, false)
    if (method === 'GET' && id === 'detail' && part === undefined) return list(call, true)
    if (id === undefined) throw unknown()
    if (part === undefined && method === 'GET')
      return { status: 200, body: { server: shownServer(find(call, id), call.base, call.minor, call.isAdmin) } }
    if (part === undefined && method === 'DELETE') return remove(call, id)
    if (part === 'action' && method === 'POST' && rest === undefined) return act(call, id)
    if (part === 'os-instance-actions' && method === 'GET') return actionsOf(call, id, rest)
    if (part === 'tags' && call.minor >= 26) {
      const body = call.request.method === 'PUT' && rest === undefined ? readJson(call.request.body) : null
      return serverTags(nova, find(call, id), rest, call.request, body, call.context)
    }
    throw unknown()
  }

  function handle(request: Request): Answer {
    const base = `http://${request.headers.host ?? ''}/v2.1`
    if (request.path === '/') return { status: 200, body: { versions: [version(base)] } }
    if (request.path === '/v2.1' || request.path === '/v2.1/') return { status: 200, body: { version: version(base) } }
    const who = options.validate(String(request.headers['x-auth-token'] ?? ''))
    if (!who) return unauthorized(options.authUrl)
    const context = contextOf(who)
    const headers = { 'x-openstack-request-id': context.requestId, 'x-compute-request-id': context.requestId }
    try {
      const minor = microversion(request)
      const used = {
        'openstack-api-version': `compute 2.${String(minor)}`,
        'x-openstack-nova-api-version': `2.${String(minor)}`,
        vary: 'OpenStack-API-Version, X-OpenStack-Nova-API-Version',
      }
      const answer = route({ request, who, context, minor, base, isAdmin: who.roles.includes('admin') })
      return { ...answer, headers: { ...headers, ...used, ...answer.headers } }
    } catch (error) {
      const refusal = asRefusal(error)
      return { status: refusal.status, headers, body: errorBody(refusal.status, refusal.message) }
    }
  }

  /** What nova-compute does when it starts: forgotten snapshots lose their task state, deletes and power actions go on. */
  function recover() {
    for (const instance of nova.instances.all().filter((one) => one.vmState !== 'deleted')) {
      const { id, taskState } = instance
      const context = {
        requestId: `req-${randomUUID()}`,
        user: '',
        userName: '',
        project: '',
        projectName: '',
        roles: ['admin'],
      }
      const power = Object.values(powerActions).find((action) => action.task === taskState)
      if (taskState?.startsWith('image_')) {
        nova.save(id, { taskState: null }, context)
        if (nova.guests.find(id)?.state === 'suspended') nova.guests.setState(id, 'running')
      }
      if (taskState === 'deleting') nova.background(() => deleteInstance(nova, id, context))
      if (power) nova.background(() => finishPowerAction(nova, id, power, context))
    }
  }

  recover()
  const listening = await serve({ service: 'nova', port: options.port, faults: options.faults, handler: handle })
  return { url: `http://127.0.0.1:${String(listening.port)}/v2.1`, close: listening.close }
}

function fits(instance: Instance, query: URLSearchParams): boolean {
  const tags = query.get('tags')?.split(',') ?? []
  const anyTag = query.get('tags-any')?.split(',')
  const wanted: [string, string][] = [
    ['uuid', instance.id],
    ['host', instance.host ?? ''],
    ['status', statusOf(instance)],
    ['project_id', instance.project],
    ['tenant_id', instance.project],
    ['user_id', instance.user],
    ['image', instance.imageId ?? ''],
  ]
  return (
    tags.every((tag) => instance.tags.includes(tag)) &&
    (!anyTag || anyTag.some((tag) => instance.tags.includes(tag))) &&
    (!query.has('name') || instance.name.includes(query.get('name') ?? '')) &&
    wanted.every(([name, value]) => (query.get(name) ?? value) === value)
  )
}

function microversion(request: Request): number {
  const header = request.headers['openstack-api-version'] ?? request.headers['x-openstack-nova-api-version'] ?? '2.1'
  const text = String(header).replace(/^compute\s+/, '')
  if (text === 'latest') return newest
  const [, minor] = /^2\.(\d+)$/.exec(text) ?? []
  if (minor === undefined) throw new NovaRefusal(400, `API Version String '${text}' is of invalid format.`)
  if (Number(minor) < 1 || Number(minor) > newest)
    throw new NovaRefusal(
      406,
      `Version ${text} is not supported by the API. Minimum is 2.1 and maximum is 2.${String(newest)}.`,
    )
  return Number(minor)
}

const version = (base: string) => ({
  id: 'v2.1',
  status: 'CURRENT',
  version: `2.${String(newest)}`,
  min_version: '2.1',
  updated: '2013-07-23T11:33:21Z',
  links: [{ rel: 'self', href: `${base}/` }],
})

const names: Record<number, string> = {
  400: 'badRequest',
  403: 'forbidden',
  404: 'itemNotFound',
  405: 'badMethod',
  406: 'notAcceptable',
  409: 'conflictingRequest',
  413: 'overLimit',
}
const errorBody = (status: number, message: string) => ({
  [names[status] ?? 'computeFault']: { code: status, message },
})

/** What Glance refuses nova-api passes on. */
function asRefusal(error: unknown): { status: number; message: string } {
  if (error instanceof NovaRefusal || error instanceof GlanceRefusal) return error
  throw error
}

/** keystonemiddleware answers before Nova does: no JSON of Nova's */
function unauthorized(authUrl: string): Answer {
  const title = '401 Unauthorized'
  return {
    status: 401,
    headers: { 'content-type': 'text/html; charset=UTF-8', 'www-authenticate': `Keystone uri="${authUrl}"` },
    body: `<html>\n <head>\n  <title>${title}</title>\n </head>\n <body>\n  <h1>${title}</h1>\n  This server could not verify that you are authorized to access the document you requested.<br /><br />\n\n\n </body>\n</html>`,
  }
}

function readJson(body: Buffer): unknown {
  try {
    const read: unknown = JSON.parse(body.toString())
    if (typeof read === 'object' && read !== null) return read
  } catch {
    // said below
  }
  throw new NovaRefusal(400, 'Malformed request body')
}
