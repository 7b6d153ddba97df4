import * as z from 'zod/mini'
import { Failure } from '../failures.ts'
import { noteSecret, noteToken } from '../known-secrets.ts'
import type { Clock } from '../ports/clock.ts'
import { decode, exchange, refusal, type Service } from './http.ts'
import { orAbort } from './wait.ts'

/** As openstackclient names them. Either a user with a password and a project, or an application credential. */
export interface Credentials {
  authUrl: string
  username?: string | undefined
  password?: string | undefined
  projectId?: string | undefined
  projectName?: string | undefined
  userDomainId?: string | undefined
  projectDomainId?: string | undefined
  userDomainName?: string | undefined
  projectDomainName?: string | undefined
  applicationCredentialId?: string | undefined
  applicationCredentialSecret?: string | undefined
  region?: string | undefined
  interface?: string | undefined
}

export interface Identity {
  token(signal: AbortSignal): Promise<string>
  /** A service refused this token: the next `token` is a new one. */
  forget(token: string): void
  endpoint(type: 'image' | 'compute', signal: AbortSignal): Promise<string>
  /** the id of the user that we are */
  user(signal: AbortSignal): Promise<string>
}

const service: Service = { name: 'Keystone', unreachable: 'KEYSTONE_UNREACHABLE', refused: 'KEYSTONE_REFUSED' }
const timeoutMs = 20_000
/** A refused password is not tried again at once: Keystone can lock users (security_compliance). */
const refusedForMs = 60_000

const issued = z.object({
  token: z.object({
    issued_at: z.string(),
    expires_at: z.string(),
    user: z.object({ id: z.string() }),
    catalog: z.optional(
      z.array(
        z.object({
          type: z.string(),
          endpoints: z.array(
            z.object({
              interface: z.string(),
              url: z.string(),
              region: z.optional(z.nullable(z.string())),
              region_id: z.optional(z.nullable(z.string())),
            }),
          ),
        }),
      ),
    ),
  }),
})
type Catalog = NonNullable<z.infer<typeof issued>['token']['catalog']>

interface Session {
  token: string
  renewAtMs: number
  user: string
  catalog: Catalog
}

export function keystone(credentials: Credentials, clock: Clock): Identity {
  const url = `${v3(credentials.authUrl)}/auth/tokens`
  noteSecret(credentials.password)
  noteSecret(credentials.applicationCredentialSecret)
  let session: Session | null = null
  let asking: Promise<Session> | null = null
  let refused: { failure: Failure; untilMs: number } | null = null

  async function ask(): Promise<Session> {
    const askedAtMs = clock.nowMs()
    const answer = await exchange(service, {
      what: 'token',
      method: 'POST',
      url,
      headers: { 'content-type': 'application/json', accept: 'application/json' },
      body: JSON.stringify(request(credentials)),
      signal: new AbortController().signal,
      timeoutMs,
    })
    if (answer.status !== 201) throw refusal(service, `token for ${whoIs(credentials)}`, answer)
    const token = answer.headers.get('x-subject-token')
    if (token) noteToken(token)
    const { token: body } = decode(issued, service, 'token', { ...answer, text: answer.text })
    if (!token) throw new Failure('ANSWER_UNREADABLE', `token: ${service.name} sent no X-Subject-Token`)
    const lifeMs = Date.parse(body.expires_at) - Date.parse(body.issued_at)
    // its own life, not its date: our clock and Keystone's may differ
    const renewAtMs = askedAtMs + lifeMs - Math.min(300_000, lifeMs / 5)
    return { token, renewAtMs, user: body.user.id, catalog: body.catalog ?? [] }
  }

  /** One question at a time, whoever asks; it goes on when the one who asked gives up. */
  function askOnce(): Promise<Session> {
    asking ??= ask()
      .then(
        (fresh) => {
          session = fresh
          return fresh
        },
        (error: unknown) => {
          if (error instanceof Failure && error.code === 'KEYSTONE_REFUSED') {
            refused = { failure: error, untilMs: clock.nowMs() + refusedForMs }
          }
          throw error
        },
      )
      .finally(() => {
        asking = null
      })
    return asking
  }

  async function current(signal: AbortSignal): Promise<Session> {
    if (session && clock.nowMs() < session.renewAtMs) return session
    if (refused && clock.nowMs() < refused.untilMs) throw refused.failure
    return orAbort(askOnce(), signal, 'token')
  }

  return {
    token: async (signal) => (await current(signal)).token,
    forget(token) {
      if (session?.token === token) session = null
    },
    endpoint: async (type, signal) => choose((await current(signal)).catalog, type, credentials),
    user: async (signal) => (await current(signal)).user,
  }
}

function request(c: Credentials) {
  if (c.applicationCredentialId !== undefined) {
    const identity = {
      methods: ['application_credential'],
      application_credential: { id: c.applicationCredentialId, secret: c.applicationCredentialSecret },
    }
    // no scope: "Application credentials cannot request a scope" (401)
    return { auth: { identity } }
  }
  const domain = (id: string | undefined, name = 'Default') => (id === undefined ? { name } : { id })
  const user = { name: c.username, domain: domain(c.userDomainId, c.userDomainName), password: c.password }
  const named = { name: c.projectName, domain: domain(c.projectDomainId, c.projectDomainName) }
  const project = c.projectId === undefined ? named : { id: c.projectId }
  return { auth: { identity: { methods: ['password'], password: { user } }, scope: { project } } }
}

function whoIs(c: Credentials): string {
  if (c.applicationCredentialId !== undefined) return `application credential ${c.applicationCredentialId}`
  return `user ${c.username ?? ''} in project ${c.projectName ?? c.projectId ?? ''}`
}

function choose(catalog: Catalog, type: string, c: Credentials): string {
  const side = c.interface ?? 'public'
  const found = catalog
    .filter((entry) => entry.type === type)
    .flatMap((entry) => entry.endpoints)
    .find((e) => e.interface === side && (c.region === undefined || (e.region_id ?? e.region) === c.region))
  if (found) return found.url.replace(/\/+$/, '')
  const where = c.region === undefined ? '' : ` in region ${c.region}`
  throw new Failure('BAD_SETTING', `Keystone's catalogue has no ${side} endpoint of type ${type}${where}`)
}

function v3(authUrl: string): string {
  const bare = authUrl.replace(/\/+$/, '')
  return bare.endsWith('/v3') ? bare : `${bare}/v3`
}
