import { once } from 'node:events'
import { connect } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'

export type Body = string | Uint8Array<ArrayBuffer> | ReadableStream<Uint8Array>

export interface Asked {
  body?: unknown
  headers?: Record<string, string>
  raw?: Body
}

/** `json` is what the test expects to be there; the assertions tell whether it is. */
export interface Reply<T> {
  status: number
  text: string
  json: T
  headers: Headers
}

export async function call<T = unknown>(method: string, url: string, asked: Asked = {}): Promise<Reply<T>> {
  const isJson = asked.body !== undefined
  const reply = await fetch(url, {
    method,
    redirect: 'manual',
    headers: { ...(isJson ? { 'content-type': 'application/json' } : {}), ...asked.headers },
    body: isJson ? JSON.stringify(asked.body) : (asked.raw ?? null),
    ...(asked.raw === undefined ? {} : { duplex: 'half' as const }),
  })
  const text = await reply.text()
  const isObject = text.startsWith('{') || text.startsWith('[')
  const json = (isObject ? JSON.parse(text) : null) as T
  return { status: reply.status, text, json, headers: reply.headers }
}

export interface TokenBody {
  token: {
    methods: string[]
    user: { id: string }
    project: { id: string; name: string }
    roles: { name: string }[]
    catalog: { type: string; endpoints: { interface: string; region: string; url: string }[] }[]
    issued_at: string
    expires_at: string
  }
}

export interface ImageBody {
  id: string
  status: string
  protected: boolean
  owner: string
  created_at: string
  locations: { url: string }[]
  direct_url: string
}
export interface ImagesBody {
  images: ImageBody[]
  next?: string
}

export interface ServerBody {
  id: string
  status: string
  flavor: object
  'OS-EXT-STS:task_state': string | null
}
export interface NovaBody {
  server: ServerBody
  servers: ServerBody[]
  image_id: string
  instanceActions: { request_id: string }[]
  instanceAction: { events: object[] }
  conflictingRequest: { message: string }
}

export function passwordOf(user: string, project: string, password = 'lab') {
  const domain = { name: 'Default' }
  return {
    auth: {
      identity: { methods: ['password'], password: { user: { name: user, domain, password } } },
      scope: { project: { name: project, domain } },
    },
  }
}

const patchType = { 'content-type': 'application/openstack-images-v2.1-json-patch' }

/** OpenStack as one user sees it. */
export async function client(urls: { keystone: string; glance: string; nova: string }, user: string, project: string) {
  const answer = await call<TokenBody>('POST', `${urls.keystone}/auth/tokens`, { body: passwordOf(user, project) })
  const token = answer.headers.get('x-subject-token') ?? ''
  const auth = { 'x-auth-token': token }
  const glance = <T = ImageBody>(method: string, path: string, { headers, ...asked }: Asked = {}) =>
    call<T>(method, `${urls.glance}/v2${path}`, { ...asked, headers: { ...auth, ...headers } })
  return {
    token,
    userId: answer.json.token.user.id,
    glance,
    image: (id: string) => glance('GET', `/images/${id}`),
    patch: (id: string, operations: unknown[]) =>
      glance('PATCH', `/images/${id}`, { raw: JSON.stringify(operations), headers: patchType }),
    nova(method: string, path: string, { version = '2.79', ...asked }: Asked & { version?: string } = {}) {
      const headers = { ...auth, 'openstack-api-version': `compute ${version}` }
      return call<NovaBody>(method, `${urls.nova}${path}`, { ...asked, headers })
    },
  }
}
export type Client = Awaited<ReturnType<typeof client>>

export async function until(what: string, isSo: () => Promise<boolean> | boolean, withinMs = 5000): Promise<void> {
  const end = Date.now() + withinMs
  while (!(await isSo())) {
    if (Date.now() > end) throw new Error(`waited in vain for ${what}`)
    await sleep(20)
  }
}

/** One client of a guest agent: lines out, lines in. */
export async function agentOf(path: string) {
  const socket = connect(path)
  await once(socket, 'connect')
  const lines: string[] = []
  socket.on('data', (bytes: Buffer) => {
    const text = bytes.toString('latin1').split('\n')
    lines.push(...text.filter((line) => line !== ''))
  })
  socket.on('error', () => undefined)
  return {
    write: (bytes: string | Buffer) => void socket.write(bytes),
    async ask(execute: string): Promise<string> {
      const before = lines.length
      socket.write(`${JSON.stringify({ execute })}\n`)
      await until(`an answer to ${execute}`, () => lines.length > before, 1000)
      return lines.slice(before).join('\n')
    },
    lines,
    async close() {
      if (socket.destroyed) return
      socket.end()
      await once(socket, 'close')
    },
  }
}
