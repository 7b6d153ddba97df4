import { Failure } from '../failures.ts'
import type { Clock } from '../ports/clock.ts'
import { cephLogin } from './ceph-login.ts'
import { type Answer, exchange, networkCode, quote, refusal, type Service } from './http.ts'
import { atMost, pause } from './wait.ts'

export interface ManagerOptions {
  /** every manager of the cluster, also the one on standby */
  urls: string[]
  user: string
  password: string
  clock: Clock
  timeoutMs?: number | undefined
}

export interface ManagerCall {
  what: string
  method: 'GET' | 'POST' | 'PUT' | 'DELETE'
  path: string
  body?: unknown
  /** of the endpoint; all that are used here but the list of images have 1.0 */
  version?: string
  /** false: not sent again when it may have arrived, because somebody has to look first */
  isRepeatable?: boolean
}

/** An answer of the active manager's API: 2xx, or a refusal that is the API's own. */
export type AskManager = (call: ManagerCall, signal: AbortSignal) => Promise<Answer>

export const service: Service = { name: 'Ceph', unreachable: 'CEPH_UNREACHABLE', refused: 'CEPH_REFUSED' }

/** The dashboard has 10 threads and a listen backlog of 5: of 16 connections at once some were reset (Ceph 16.2). */
const atOnce = 8
const roundMs = 300

export function cephManager(options: ManagerOptions): AskManager {
  const { urls, timeoutMs = 20_000 } = options
  const origins = urls.map((url) => url.replace(/\/+$/, ''))
  const limited = atMost(atOnce)
  let active = origins[0] ?? ''

  /** The next of the configured ones after one that did not serve. */
  function leave(base: string): void {
    if (active === base) active = origins[(origins.indexOf(base) + 1) % origins.length] ?? base
  }

  /** A standby names the active manager, but loses path and method (303 to its root). */
  function follow(base: string, answer: Answer): void {
    const location = answer.headers.get('location')
    const target = location !== null && URL.canParse(location, base) ? new URL(location, base) : null
    const isSafe = target !== null && (target.protocol === 'https:' || target.protocol === new URL(base).protocol)
    if (isSafe && target.origin !== new URL(base).origin) active = prefixed(target, base, origins)
    else leave(base)
  }

  async function once(base: string, call: ManagerCall, token: string | null, signal: AbortSignal): Promise<Answer> {
    return exchange(service, {
      what: call.what,
      method: call.method,
      url: `${base}${call.path}`,
      headers: {
        accept: `application/vnd.ceph.api.v${call.version ?? '1.0'}+json`,
        ...(call.body === undefined ? {} : { 'content-type': 'application/json' }),
        ...(token === null ? {} : { authorization: `Bearer ${token}` }),
      },
      ...(call.body === undefined ? {} : { body: JSON.stringify(call.body) }),
      signal,
      timeoutMs,
    })
  }

  /** Goes from manager to manager until one serves. Twice round, then the failover is longer than a call should wait. */
  async function reach(call: ManagerCall, token: string | null, signal: AbortSignal): Promise<Answer> {
    let last: Failure | null = null
    for (let tries = 0; tries < 2 * origins.length + 2; tries += 1) {
      if (tries > 0 && tries % origins.length === 0) await pause(roundMs, signal, call.what)
      const base = active
      try {
        const answer = await once(base, call, token, signal)
        if (isServed(answer)) return answer
        last = notServing(call.what, answer)
        if (answer.status >= 300 && answer.status < 400) follow(base, answer)
        else if (!isStarting(answer)) leave(base)
      } catch (error) {
        if (!(error instanceof Failure) || error.code !== 'CEPH_UNREACHABLE') throw error
        last = error
        leave(base)
        if (call.isRepeatable === false && networkCode(error.cause) !== 'ECONNREFUSED') throw error
      }
    }
    throw last ?? new Failure('BAD_SETTING', 'no Ceph manager is configured')
  }

  const patience = () => AbortSignal.timeout(4 * timeoutMs)
  const login = cephLogin(service, options.clock, () => {
    const body = { username: options.user, password: options.password }
    return reach({ what: "the dashboard's login", method: 'POST', path: '/api/auth', body }, null, patience())
  })

  async function ask(call: ManagerCall, signal: AbortSignal): Promise<Answer> {
    const token = await login.token(signal)
    const first = await reach(call, token, signal)
    if (first.status !== 401) return first
    login.forget(token)
    const second = await reach(call, await login.token(signal), signal)
    if (second.status === 401) throw refusal(service, call.what, second)
    return second
  }

  return (call, signal) => limited(() => ask(call, signal), signal, call.what)
}

/** A configured URL may have a prefix (`mgr/dashboard/url_prefix`); it is the same at every manager. */
function prefixed(target: URL, base: string, origins: string[]): string {
  const known = origins.find((origin) => new URL(origin).origin === target.origin)
  return known ?? `${target.origin}${new URL(base).pathname.replace(/\/+$/, '')}`
}

/** During a failover a standby answers 200 text/html, and a proxy may answer anything: only the API's own types count. */
function isServed(answer: Answer): boolean {
  if (isStarting(answer) || answer.status === 503) return false
  if (answer.status === 204) return true
  const isApi = answer.type.startsWith('application/vnd.ceph.api.v')
  return isApi || (answer.status >= 400 && answer.type === 'application/json')
}

/** The first calls after a manager's start: "You cannot perform that operation on a Rados object in state configuring". */
const isStarting = (answer: Answer) => answer.status >= 400 && answer.text.includes('state configuring')

function notServing(what: string, answer: Answer): Failure {
  const words = `${what}: Ceph answered ${String(answer.status)} ${answer.type}: ${quote(answer.text)}`
  return new Failure('CEPH_UNREACHABLE', words)
}
