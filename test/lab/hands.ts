import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import type { Lab, Person } from '../../infra/lab/lab.ts'

/** What people of the cloud do beside the adapters: the REST APIs with their own tokens, and `rbd` with the administrator's key. */

const run = promisify(execFile)

export async function rbd(lab: Lab, ...args: string[]): Promise<string> {
  const { stdout } = await run('rbd', ['--conf', lab.ceph.conf, ...args], { maxBuffer: 256 * 1024 * 1024 })
  return stdout
}

export interface Answered {
  status: number
  headers: Headers
  body: unknown
}
export type Ask = (method: string, url: string, body?: unknown, headers?: Record<string, string>) => Promise<Answered>

/** Calls with the token of `person`, in `project` when it is not the own one. */
export async function asPerson(lab: Lab, person: Person, projectId = person.projectId): Promise<Ask> {
  const user = { name: person.name, domain: { name: 'Default' }, password: person.password }
  const identity = { methods: ['password'], password: { user } }
  const answer = await fetch(`${lab.authUrl}/auth/tokens?nocatalog`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ auth: { identity, scope: { project: { id: projectId } } } }),
  })
  const token = answer.headers.get('x-subject-token')
  if (!token) throw new Error(`token for ${person.name}: ${String(answer.status)} ${await answer.text()}`)
  return async (method, url, body, headers = {}) => {
    const type = { 'content-type': 'application/json' }
    const got = await fetch(url, {
      method,
      headers: { 'x-auth-token': token, ...(body === undefined ? {} : type), ...headers },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    })
    const text = await got.text()
    return { status: got.status, headers: got.headers, body: parsed(text) }
  }
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return text
  }
}

/** @throws when the call did not end with one of `statuses` */
export async function must(asked: Promise<Answered>, ...statuses: number[]): Promise<unknown> {
  const { status, body } = await asked
  if (!statuses.includes(status))
    throw new Error(`${String(status)}, not ${statuses.join(' or ')}: ${JSON.stringify(body)}`)
  return body
}

export async function until<T>(ask: () => Promise<T | null>, what: string, withinMs = 90_000): Promise<T> {
  for (const endMs = Date.now() + withinMs; Date.now() < endMs;) {
    const value = await ask()
    if (value !== null) return value
    await new Promise((resolve) => setTimeout(resolve, 300))
  }
  throw new Error(`${what}: not within ${String(withinMs)} ms`)
}
