import { randomUUID } from 'node:crypto'
import { type Answer, type Faults, type Request, serve } from './http.ts'
import { identities } from './keystone-identities.ts'
import { isUsable, type Token, tokenStore } from './keystone-tokens.ts'
import type { Records } from './records.ts'

/** How long keystonemiddleware trusts a validation (`token_cache_time`): a revoked token is taken by Glance and Nova until then. */
const cacheMs = 300_000

export type Catalog = Record<'identity' | 'image' | 'compute', { name: string; public: string; internal: string }>

export async function startKeystone(options: {
  records: Records
  port: number
  faults: Faults
  tokenTtlMs: number
  region: string
  /** asked at each use: the other services' ports are known only after they listen */
  catalog: () => Catalog
}) {
  const people = identities(options.records)
  const tokens = tokenStore(options.records)

  function catalogBody() {
    return Object.entries(options.catalog()).map(([type, service]) => ({
      id: `${type}-service`,
      type,
      name: service.name,
      endpoints: (['public', 'internal'] as const).map((side) => ({
        id: `${type}-${side}`,
        interface: side,
        region: options.region,
        region_id: options.region,
        url: service[side],
      })),
    }))
  }

  function tokenBody(token: Token, withCatalog: boolean) {
    const domain = { id: 'default', name: 'Default' }
    const project = token.projectId && {
      project: { id: token.projectId, name: token.projectName, domain },
      is_domain: false,
      roles: token.roles.map((name) => ({ id: `${name}-role`, name })),
      ...(withCatalog ? { catalog: catalogBody() } : {}),
    }
    return {
      token: {
        methods: token.methods,
        user: { domain, id: token.userId, name: token.userName, password_expires_at: null },
        audit_ids: [token.auditId],
        expires_at: new Date(token.expiresAtMs).toISOString().replace('Z', '000Z'),
        issued_at: new Date(token.issuedAtMs).toISOString().replace('Z', '000Z'),
        ...project,
        ...(token.applicationCredential
          ? { application_credential: { ...token.applicationCredential, restricted: true } }
          : {}),
      },
    }
  }

  async function issue(request: Request): Promise<Answer> {
    const found = await people.authenticate(readJson(request.body))
    if ('refused' in found) return refused(found.status, found.refused)
    const token = tokens.issue(found, options.tokenTtlMs)
    return {
      status: 201,
      headers: { 'x-subject-token': token.id, vary: 'X-Auth-Token' },
      body: tokenBody(token, !request.query.has('nocatalog')),
    }
  }

  function subject(request: Request): Answer {
    const token = tokens.find(String(request.headers['x-subject-token'] ?? ''))
    if (!token || !isUsable(token)) return refused(404, 'Could not find token.')
    if (request.method === 'DELETE') {
      tokens.revoke(token.id)
      return { status: 204 }
    }
    const headers = { 'x-subject-token': token.id, vary: 'X-Auth-Token' }
    if (request.method === 'HEAD') return { status: 200, headers }
    return { status: 200, headers, body: tokenBody(token, !request.query.has('nocatalog')) }
  }

  async function applicationCredentials(request: Request, who: Token, userId: string, id?: string): Promise<Answer> {
    if (who.userId !== userId) return refused(403, 'You are not authorized to perform the requested action.')
    if (request.method === 'POST') {
      const made = await people.addApplicationCredential(who, readJson(request.body))
      return made
        ? { status: 201, body: { application_credential: made } }
        : refused(400, 'name is a required property')
    }
    if (request.method === 'GET' && !id)
      return { status: 200, body: { application_credentials: people.applicationCredentials(userId), links: {} } }
    if (request.method === 'DELETE' && id && people.removeApplicationCredential(userId, id)) return { status: 204 }
    return refused(404, `Could not find application credential: ${id ?? ''}.`)
  }

  async function handle(request: Request): Promise<Answer> {
    const { method, path } = request
    if (path === '/' || path === '') return { status: 300, body: { versions: { values: [version()] } } }
    if (path === '/v3' || path === '/v3/') return { status: 200, body: { version: version() } }
    if (method === 'POST' && path === '/v3/auth/tokens') return issue(request)
    const who = tokens.find(String(request.headers['x-auth-token'] ?? ''))
    if (!who || !isUsable(who)) return refused(401, unauthenticated)
    if (path === '/v3/auth/tokens') return subject(request)
    if (method === 'GET' && path === '/v3/auth/catalog') return { status: 200, body: { catalog: catalogBody() } }
    const credential = /^\/v3\/users\/([^/]+)\/application_credentials(?:\/([^/]+))?$/.exec(path)
    if (credential?.[1]) return applicationCredentials(request, who, credential[1], credential[2])
    return refused(404, 'The resource could not be found.')
  }

  let url = ''
  const version = () => ({
    id: 'v3.14',
    status: 'stable',
    updated: '2020-04-07T00:00:00Z',
    links: [{ rel: 'self', href: `${url}/` }],
    'media-types': [{ base: 'application/json', type: 'application/vnd.openstack.identity-v3+json' }],
  })
  const listening = await serve({
    service: 'keystone',
    port: options.port,
    faults: options.faults,
    async handler(request) {
      const answer = await handle(request)
      return { ...answer, headers: { 'x-openstack-request-id': `req-${randomUUID()}`, ...answer.headers } }
    },
  })
  url = `http://127.0.0.1:${String(listening.port)}/v3`

  return {
    url,
    people,
    close: listening.close,
    /** What keystonemiddleware does in front of one service. */
    validator() {
      const seen = new Map<string, number>()
      return (id: string | undefined): Token | null => {
        const token = id ? tokens.find(id) : undefined
        if (!token || token.expiresAtMs <= Date.now()) return null
        const trusted = (seen.get(token.id) ?? 0) + cacheMs > Date.now()
        if (token.isRevoked && !trusted) return null
        if (!trusted) seen.set(token.id, Date.now())
        return token
      }
    },
  }
}

const unauthenticated = 'The request you have made requires authentication.'
const titles: Record<number, string> = { 400: 'Bad Request', 401: 'Unauthorized', 403: 'Forbidden', 404: 'Not Found' }

function refused(status: number, message: string): Answer {
  const challenge = status === 401 ? { 'www-authenticate': 'Keystone uri="/v3"' } : {}
  return { status, headers: challenge, body: { error: { code: status, message, title: titles[status] ?? 'Error' } } }
}

function readJson(body: Buffer): unknown {
  try {
    return JSON.parse(body.toString())
  } catch {
    return undefined
  }
}
