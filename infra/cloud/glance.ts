import type { IncomingMessage, ServerResponse } from 'node:http'
import { finished } from 'node:stream/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import { Readable } from 'node:stream'
import { GlanceRefusal } from './glance-images.ts'
import type { Endpoint, GlanceService } from './glance-service.ts'
import { type Answer, type Faults, type Request, serve } from './http.ts'
import type { Token } from './keystone-tokens.ts'
import type { LoadGauge } from './load.ts'

const patchTypes = ['application/openstack-images-v2.1-json-patch', 'application/openstack-images-v2.0-json-patch']
const fileOf = /^\/v2\/images\/([^/]+)\/file$/

/** Glance v2 (Zed) on one port; a cloud may have a public and an internal endpoint over the same images. */
export async function startGlance(options: {
  service: GlanceService
  endpoint: Endpoint
  port: number
  faults: Faults
  load?: LoadGauge
  /** each call takes that much longer: the real one asks its database and Keystone */
  latencyMs?: number
  authUrl: string
  validate: (token: string | undefined) => Token | null
}) {
  const { service, endpoint } = options
  const responses = new WeakMap<IncomingMessage, ServerResponse>()

  function byId(request: Request, who: Token, id: string): Promise<Answer> | Answer {
    if (request.method === 'GET') return ok(service.view(service.show(who, id), endpoint))
    if (request.method === 'PATCH') return patch(request, who, id)
    if (request.method === 'DELETE') return service.remove(who, id).then(() => ({ status: 204 }))
    throw new GlanceRefusal(405, 'Method Not Allowed')
  }

  async function patch(request: Request, who: Token, id: string): Promise<Answer> {
    const type = request.headers['content-type']?.split(';')[0]?.trim() ?? ''
    if (!patchTypes.includes(type)) throw new GlanceRefusal(415, `Unsupported content type ${type}`)
    return ok(service.view(await service.patch(who, id, readJson(request.body), endpoint), endpoint))
  }

  async function upload(request: Request, who: Token, id: string): Promise<Answer> {
    const { raw, headers } = request
    if (headers['content-type'] !== 'application/octet-stream')
      throw new GlanceRefusal(415, 'The request body must be application/octet-stream')
    const length = headers['content-length']
    const bytes = raw.iterator({ destroyOnReturn: false }) as AsyncIterable<Uint8Array>
    try {
      await service.upload(who, id, bytes, length === undefined ? null : Number(length))
      return { status: 204 }
    } finally {
      // what is left of a refused upload is read away: a client that still writes would not see the refusal
      raw.resume()
    }
  }

  async function download(request: Request, who: Token, id: string): Promise<Answer> {
    const image = service.show(who, id)
    const location = image.locations[0]
    if (image.status !== 'active' || !location) return { status: 204 }
    const response = responses.get(request.raw)
    if (!response) throw new Error('a request without its response')
    response.writeHead(200, {
      'content-type': 'application/octet-stream',
      'content-length': String(image.size ?? 0),
      ...(image.checksum === null ? {} : { 'content-md5': image.checksum }),
    })
    await finished(Readable.from(service.store.read(location.url)).pipe(response))
    // answered already: `serve` knows whole bodies only, so it gets nothing to send
    return new Promise<Answer>(() => undefined)
  }

  function locations(request: Request, who: Token, id: string): Answer {
    const image = service.show(who, id)
    if (request.method === 'POST') {
      if (!who.roles.includes('service') && image.owner !== who.projectId) throw forbidden('add_image_location')
      return { status: 202, body: service.acceptLocation(who, id, readJson(request.body)) }
    }
    if (!who.roles.includes('service')) throw forbidden('fetch_image_location')
    return ok(image.locations)
  }

  function storesInDetail(who: Token): Answer {
    if (!who.roles.includes('admin')) throw forbidden('stores_info_detail')
    const properties = { chunk_size: 8_388_608, pool: service.store.pool, thin_provisioning: false }
    return ok({ stores: [{ id: 'rbd', default: 'true', type: 'rbd', properties }] })
  }

  function route(request: Request, who: Token): Promise<Answer> | Answer {
    const { method, path } = request
    if (path === '/v2/info/stores' && method === 'GET') return ok({ stores: [{ id: 'rbd', default: 'true' }] })
    if (path === '/v2/info/stores/detail' && method === 'GET') return storesInDetail(who)
    if (path === '/v2/images' && method === 'GET') return ok(service.list(who, request.query, endpoint))
    if (path === '/v2/images' && method === 'POST') {
      const image = service.create(who, readJson(request.body))
      const headers = { location: `http://${request.headers.host ?? ''}/v2/images/${image.id}` }
      return { status: 201, headers, body: service.view(image, endpoint) }
    }
    const id = /^\/v2\/images\/([^/]+)$/.exec(path)?.[1]
    if (id) return byId(request, who, id)
    const ofFile = fileOf.exec(path)?.[1]
    if (ofFile && method === 'PUT') return upload(request, who, ofFile)
    if (ofFile && method === 'GET') return download(request, who, ofFile)
    const ofLocations = /^\/v2\/images\/([^/]+)\/locations$/.exec(path)?.[1]
    if (ofLocations && service.settings().hasLocationApi) return locations(request, who, ofLocations)
    throw new GlanceRefusal(404, 'The resource could not be found.')
  }

  async function handle(request: Request): Promise<Answer> {
    if (options.latencyMs) await sleep(options.latencyMs)
    if (request.path === '/' || request.path === '/versions')
      return { status: request.path === '/' ? 300 : 200, body: versions(request, service.settings().hasLocationApi) }
    const who = options.validate(String(request.headers['x-auth-token'] ?? ''))
    if (!who) {
      const page = errorPage(
        request,
        401,
        'This server could not verify that you are authorized to access the document you requested.',
      )
      return { ...page, headers: { ...page.headers, 'www-authenticate': `Keystone uri="${options.authUrl}"` } }
    }
    try {
      return await route(request, who)
    } catch (error) {
      if (error instanceof GlanceRefusal) return errorPage(request, error.status, error.message)
      throw error
    }
  }

  const { load } = options
  const listening = await serve({
    service: 'glance',
    port: options.port,
    faults: options.faults,
    ...(load && { load }),
    handler: handle,
    streams: (method, path) => method === 'PUT' && fileOf.test(path),
  })
  listening.server.prependListener('request', (raw: IncomingMessage, response: ServerResponse) => {
    responses.set(raw, response)
  })
  return { url: `http://127.0.0.1:${String(listening.port)}`, close: listening.close }
}

const ok = (body: unknown): Answer => ({ status: 200, body })
const forbidden = (action: string) => new GlanceRefusal(403, `You are not authorized to complete ${action} action.`)

function readJson(body: Buffer): unknown {
  try {
    return JSON.parse(body.toString())
  } catch {
    throw new GlanceRefusal(400, 'Malformed JSON in request body.')
  }
}

/** Glance 25 (Zed) is at v2.15; the location API came with v2.17. */
function versions(request: Request, hasLocationApi: boolean) {
  const newest = hasLocationApi ? 17 : 15
  const href = `http://${request.headers.host ?? ''}/v2/`
  const minors = [newest, 9, 7, 6, 5, 4, 3, 2, 1, 0]
  return {
    versions: minors.map((minor) => ({
      id: `v2.${String(minor)}`,
      status: minor === newest ? 'CURRENT' : 'SUPPORTED',
      links: [{ rel: 'self', href }],
    })),
  }
}

const titles: Record<number, string> = {
  400: 'Bad Request',
  401: 'Unauthorized',
  403: 'Forbidden',
  404: 'Not Found',
  405: 'Method Not Allowed',
  409: 'Conflict',
  410: 'Gone',
  413: 'Request Entity Too Large',
  415: 'Unsupported Media Type',
  500: 'Internal Server Error',
}

/** webob's page: HTML unless the client asks for JSON only. */
function errorPage(request: Request, status: number, message: string): Answer {
  const title = `${String(status)} ${titles[status] ?? 'Error'}`
  const accept = request.headers.accept ?? '*/*'
  if (accept.includes('json') && !accept.includes('html') && !accept.includes('*/*'))
    return { status, body: { message: `${message}<br /><br />\n\n\n`, code: title, title: titles[status] } }
  const text = message.replace(/[&<>"']/g, (c) => `&#x${c.charCodeAt(0).toString(16)};`)
  const page = `<html>\n <head>\n  <title>${title}</title>\n </head>\n <body>\n  <h1>${title}</h1>\n  ${text}<br /><br />\n\n\n </body>\n</html>`
  return { status, headers: { 'content-type': 'text/html; charset=UTF-8' }, body: page }
}
