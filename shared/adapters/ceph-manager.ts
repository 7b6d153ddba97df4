import { Failure } from '../failures.ts'
import { noteSecret } from '../known-secrets.ts'
import type { Clock } from '../ports/clock.ts'
import { cephLogin } from './ceph-login.ts'
import { type Answer, exchange, networkCode, reasonOf, refusal, type Service } from './http.ts'
import { quote } from './words.ts'
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
  /** false: not sent again when it may have arrived, because somebody has to look first */
  isRepeatable?: boolean
}

/** An answer of the active manager's API: 2xx, or a refusal that is the API's own. */
export type AskManager = (call: ManagerCall, signal: AbortSignal) => Promise<Answer>

export const service: Service = { name: 'Ceph', unreachable: 'CEPH_UNREACHABLE', refused: 'CEPH_REFUSED' }

/** Of the scope rbd-image; there is none for a pool. */
export const dashboardRights = ['read', 'create', 'update', 'delete']

/** The dashboard has 10 threads and a listen backlog of 5: of 16 connections at once some were reset (Ceph 16.2). */
const atOnce = 8
const roundMs = 300
/** A call is held 4 s at most; a step has 15 s, and a second manager to ask. */
const usualTimeoutMs = 8_000

export function cephManager(options: ManagerOptions): AskManager {
  const { urls, timeoutMs = usualTimeoutMs } = options
  const origins = urls.map((url) => url.replace(/\/+$/, ''))
  const limited = atMost(atOnce)
  noteSecret(options.password)
  let active = origins[0] ?? ''

  /** The next of the configured ones after one that did not serve. */
  function leave(base: string): void {
    if (active === base) active = origins[(origins.indexOf(base) + 1) % origins.length] ?? base
  }

  /**
   * A standby names the active manager, but loses path and method (303 to its root). It is believed only when it names one of ours: the
   * password and the token go to nobody else, whoever says so.
   */
  function follow(base: string, answer: Answer): void {
    const location = answer.headers.get('location')
    const target = location !== null && URL.canParse(location, base) ? new URL(location, base) : null
    const named = origins.find((origin) => new URL(origin).origin === target?.origin)
    if (named !== undefined && named !== base) active = named
    else leave(base)
  }

  async function once(base: string, call: ManagerCall, token: string | null, signal: AbortSignal): Promise<Answer> {
    return exchange(service, {
      what: call.what,
      method: call.method,
      url: `${base}${call.path}`,
      headers: {
        // of every endpoint that is used here; only the list of images has 2.0
        accept: 'application/vnd.ceph.api.v1.0+json',
        ...(call.body === undefined ? {} : { 'content-type': 'application/json' }),
        ...(token === null ? {} : { authorization: `Bearer ${token}` }),
      },
      ...(call.body === undefined ? {} : { body: JSON.stringify(call.body) }),
      signal,
      timeoutMs,
    })
  }

  /** Goes from manager to manager until one serves. Some rounds, then the failover is longer than a call should wait. */
  async function reach(call: ManagerCall, token: string | null, signal: AbortSignal): Promise<Answer> {
    const said = new Map<string, string>()
    for (let tries = 0, absent = 0; tries < 3 * origins.length; tries += 1) {
      const base = active
      const came = await attempt(base, call, token, signal)
      if (!(came instanceof Failure) && isServed(came)) return came
      said.set(base, came instanceof Failure ? reasonOf(came.cause) : whatElse(came))
      if (isRedirect(came)) follow(base, came)
      else if (!isStarting(came)) leave(base)
      if (isRedirect(came) && active !== base) continue
      absent += 1
      if (absent % origins.length === 0) await pause(roundMs, signal, call.what)
    }
    throw nobodyServes(call.what, said)
  }

  /** A manager that does not answer is one answer among others, unless the call may have arrived and must not arrive twice. */
  async function attempt(base: string, call: ManagerCall, token: string | null, signal: AbortSignal) {
    try {
      return await once(base, call, token, signal)
    } catch (error) {
      // the caller waited in vain: the next one begins elsewhere
      leave(base)
      if (!(error instanceof Failure) || error.code !== 'CEPH_UNREACHABLE') throw error
      if (call.isRepeatable === false && networkCode(error.cause) !== 'ECONNREFUSED') throw error
      return error
    }
  }

  const patience = () => AbortSignal.timeout(4 * timeoutMs)
  const login = cephLogin(service, options.clock, () => {
    const body = { username: options.user, password: options.password }
    return reach({ what: "the dashboard's login", method: 'POST', path: '/api/auth', body }, null, patience())
  })

  async function ask(call: ManagerCall, signal: AbortSignal): Promise<Answer> {
    const token = await login.token(signal)
    const first = await reach(call, token, signal)
    if (first.status !== 401) return allowed(call, first)
    login.forget(token)
    const second = await reach(call, await login.token(signal), signal)
    if (second.status === 401) throw refusal(service, call.what, second)
    return allowed(call, second)
  }

  function allowed(call: ManagerCall, answer: Answer): Answer {
    if (answer.status !== 403) return answer
    const needs = `its role needs ${dashboardRights.join(', ')} in the scope rbd-image`
    throw new Failure('CEPH_REFUSED', `${call.what}: the dashboard user ${options.user} may not (403): ${needs}`)
  }

  return (call, signal) => limited(() => ask(call, signal), signal, call.what)
}

/** During a failover a standby answers 200 text/html, and a proxy may answer anything: only the API's own types count. */
function isServed(answer: Answer): boolean {
  if (isStarting(answer) || answer.status === 503) return false
  if (answer.status === 204) return true
  const isApi = answer.type.startsWith('application/vnd.ceph.api.v')
  return isApi || (answer.status >= 400 && answer.type === 'application/json')
}

const isRedirect = (came: Answer | Failure): came is Answer =>
  !(came instanceof Failure) && came.status >= 300 && came.status < 400

/** The first calls after a manager's start: "You cannot perform that operation on a Rados object in state configuring". */
const isStarting = (came: Answer | Failure) =>
  !(came instanceof Failure) && came.status >= 400 && came.text.includes('state configuring')

function nobodyServes(what: string, said: Map<string, string>): Failure {
  const each = [...said].map(([url, words]) => `${url}: ${hints[words] ?? words}`).join('; ')
  const words = `${what}: no manager serves the dashboard (${each}); \`ceph mgr services\` says where it is, and nothing when it is off`
  return new Failure('CEPH_UNREACHABLE', words)
}

/** What the network says when the URL is not the dashboard's. */
const hints: Record<string, string> = {
  ERR_SSL_WRONG_VERSION_NUMBER: 'it does not speak https there',
  UND_ERR_SOCKET: 'it closed the connection, as one does that speaks https only',
  DEPTH_ZERO_SELF_SIGNED_CERT: 'its certificate is its own: NODE_EXTRA_CA_CERTS',
  SELF_SIGNED_CERT_IN_CHAIN: "its certificate's authority is not known: NODE_EXTRA_CA_CERTS",
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: "its certificate's authority is not known: NODE_EXTRA_CA_CERTS",
}

const whatElse = ({ status, type, text }: Answer) => `${String(status)} ${type} ${quote(text).slice(0, 80)}`.trim()
