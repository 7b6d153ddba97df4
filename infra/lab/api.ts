import { Blob } from 'node:buffer'
import { urls } from './ports.ts'
import { password } from './secrets.ts'

/** Just enough of OpenStack's REST to furnish the lab, as one person. */
export type Call = (method: string, url: string, body?: unknown, headers?: Record<string, string>) => Promise<unknown>

export async function as(user: string, project: string): Promise<Call> {
  const domain = { name: 'Default' }
  const identity = { methods: ['password'], password: { user: { name: user, domain, password: password() } } }
  const scope = { project: { name: project, domain } }
  const answer = await send('POST', `${urls.keystone}/auth/tokens?nocatalog`, { auth: { identity, scope } }, {})
  const token = answer.headers.get('x-subject-token') ?? ''
  return async (method, url, body, headers = {}) => {
    const text = await (await send(method, url, body, { 'x-auth-token': token, ...headers })).text()
    return text.startsWith('{') || text.startsWith('[') ? (JSON.parse(text) as unknown) : text
  }
}

async function send(method: string, url: string, body: unknown, headers: Record<string, string>): Promise<Response> {
  const json = { 'content-type': 'application/json' }
  const answer = await fetch(url, {
    method,
    headers: { ...(body === undefined || isBlob(body) ? {} : json), ...headers },
    body: body === undefined ? null : isBlob(body) ? body : JSON.stringify(body),
    signal: AbortSignal.timeout(120_000),
  })
  if (!answer.ok) throw new Error(`${method} ${url}: ${answer.status} ${(await answer.text()).slice(0, 500)}`)
  return answer
}

const isBlob = (body: unknown): body is Blob => body instanceof Blob
