import { randomUUID } from 'node:crypto'
import type { Cluster } from './cluster.ts'
import type { Accounts } from './dashboard-auth.ts'
import { DashboardError, HttpError } from './dashboard-errors.ts'
import { imageRoutes } from './dashboard-images.ts'
import type { ManagerLife } from './dashboard-life.ts'
import { allows, type Call, type Route } from './dashboard-route.ts'
import { sessionRoutes } from './dashboard-session.ts'
import { snapRoutes } from './dashboard-snaps.ts'
import { trashRoutes } from './dashboard-trash.ts'
import type { Answer, Request } from './http.ts'

type Args = Record<string, unknown>

/** How long a task's call is held before it is answered 202. */
export type HeldMs = Record<'shortly' | 'longer', number>

const acceptPattern = /^application\/vnd\.ceph\.api\.v(\d+)\.(\d+)\+json$/

/** The dashboard's REST API: cherrypy's order of checks (404, 411, body, 401, 403, 415), then the endpoint. */
export function dashboardApi(cluster: Cluster, accounts: Accounts, heldMs: HeldMs) {
  // the trash goes first: `trash` would match as an image's name
  const routes = [...trashRoutes(cluster), ...imageRoutes(cluster), ...snapRoutes(cluster), ...sessionRoutes(cluster)]

  function find(request: Request): { route: Route; path: Args } {
    const parts = request.path.split('/').slice(2)
    for (const route of request.path.startsWith('/api/') ? routes : []) {
      const path = route.method === request.method ? matchPath(route.path.split('/'), parts) : null
      if (path) return { route, path }
    }
    throw new HttpError(404, `The path '${unquote(request.path)}' was not found.`)
  }

  async function call(request: Request, life: ManagerLife): Promise<Answer> {
    const { route, path } = find(request)
    const body = readBody(request, route)
    const token = tokenOf(request)
    const user = accounts.whose(token)
    if (!route.isOpen && !user) throw new HttpError(401, 'You are not authorized to access that resource')
    if (user && !allows(user.scopes, route.needs)) {
      throw new HttpError(403, "You don't have permissions to access that resource")
    }
    const args = { ...Object.fromEntries(request.query), ...path, ...bodyArguments(body) }
    const version = route.version ?? '1.0'
    checkVersion(request.headers.accept, version)
    const { status, value, headers } = await perform(route, { args, life, accounts, token })
    const type = `application/vnd.ceph.api.v${version}+json`
    return { status, headers: { ...headers, 'content-type': type }, body: JSON.stringify(value ?? null) }
  }

  async function perform(
    route: Route,
    given: Call,
  ): Promise<{ status: number; value: unknown; headers?: Record<string, string> }> {
    const { args, life } = given
    const known = [
      ...route.path.split('/').map((part) => part.slice(1)),
      ...(route.required ?? []),
      ...(route.optional ?? []),
    ]
    const unknown = Object.keys(args).find((name) => !known.includes(name))
    for (const name of route.required ?? []) if (!(name in args)) throw new Error(`${name} is required`)

    async function work() {
      if (unknown !== undefined) throw new Error(`${route.python}() got an unexpected keyword argument '${unknown}'`)
      if (route.needs?.scope === 'rbd-image') await life.useRados()
      return route.run(given)
    }

    const status = route.status ?? 200
    if (!route.task) {
      const value = await work()
      return { status, value, headers: route.headers?.(given, value) ?? {} }
    }
    const metadata = route.task.metadata(args)
    const outcome = await life.tasks.run(route.task.name, metadata, heldMs[route.task.held], work)
    if (outcome.is === 'done') return { status, value: null }
    if (outcome.is === 'refused') return { status: outcome.error.status, value: outcome.error }
    return { status: 202, value: { name: route.task.name, metadata } }
  }

  return async (request: Request, life: ManagerLife): Promise<Answer> => {
    try {
      return await life.onWorker(() => call(request, life))
    } catch (error) {
      // an answer of the error page or of the exception handler bears the plain type
      if (error instanceof DashboardError) return { status: error.status, body: error.body }
      if (error instanceof HttpError) return errorPage(error.status, error.message)
      return errorPage(
        500,
        'The server encountered an unexpected condition which prevented it from fulfilling the request.',
      )
    }
  }
}

const reasons: Record<number, string> = {
  400: 'Bad Request',
  401: 'Unauthorized',
  403: 'Forbidden',
  404: 'Not Found',
  411: 'Length Required',
  415: 'Unsupported Media Type',
  500: 'Internal Server Error',
}

function errorPage(status: number, detail: string): Answer {
  return { status, body: { status: `${status} ${reasons[status] ?? ''}`, detail, request_id: randomUUID() } }
}

function unquote(value: string): string {
  try {
    return decodeURIComponent(value)
  } catch {
    return value
  }
}

/**
 * An encoded slash stays in its part; encoded twice it is decoded once more, as the dashboard unquotes every argument.
 */
function matchPath(pattern: readonly string[], parts: readonly string[]): Args | null {
  if (pattern.length !== parts.length) return null
  const path: Args = {}
  for (const [at, wanted] of pattern.entries()) {
    const part = parts[at] ?? ''
    if (wanted.startsWith(':')) path[wanted.slice(1)] = unquote(unquote(part))
    else if (wanted !== part) return null
  }
  return path
}

function readBody(request: Request, route: Route): unknown {
  if (request.method !== 'POST' && request.method !== 'PUT') return {}
  const { headers, body } = request
  if (headers['content-length'] === undefined && headers['transfer-encoding'] === undefined) {
    throw new HttpError(411, 'Length Required')
  }
  const isJson = headers['content-type'] === 'application/json' || headers['content-type'] === 'text/javascript'
  if (!isJson) {
    if (route.allowsEmpty) return {}
    throw new HttpError(415, 'Expected an entity of content type application/json, text/javascript')
  }
  if (body.length === 0) return {}
  try {
    return JSON.parse(body.toString()) as unknown
  } catch {
    throw new HttpError(400, 'Invalid JSON document')
  }
}

/** Python's `params.update(...)`: anything but an object is an error that nobody handles. */
function bodyArguments(body: unknown): Args {
  if (typeof body !== 'object' || body === null || Array.isArray(body)) throw new Error('not a dictionary')
  return body as Args
}

/** A cookie wins over the header. */
function tokenOf(request: Request): string | undefined {
  const cookie = /(?:^|;\s*)token=([^;]*)/.exec(request.headers.cookie ?? '')?.[1]
  return cookie ?? /^bearer (.*)$/i.exec(request.headers.authorization ?? '')?.[1]
}

function checkVersion(accept: string | undefined, version: string) {
  const wanted = acceptPattern.exec(accept ?? '')
  if (!wanted) throw new HttpError(415, 'Unable to find version in request header')
  const [major, minor] = version.split('.').map(Number)
  if (Number(wanted[1]) === major && Number(wanted[2]) <= (minor ?? 0)) return
  const asked = `${wanted[1]}.${wanted[2]}`
  throw new HttpError(415, `Incorrect version: endpoint is '${version}', client requested '${asked}'`)
}
