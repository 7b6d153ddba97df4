import { connect } from 'node:net'
import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Cloud } from '../../infra/cloud/main.ts'

export interface Reply {
  status: number
  text: string
  // the bodies of four services: a test looks at what it knows to be there
  // eslint-disable-next-line @typescript-eslint/no-explicit-any
  json: any
  headers: Headers
}

export async function call(
  method: string,
  url: string,
  options: { body?: unknown; headers?: Record<string, string>; raw?: BodyInit } = {},
): Promise<Reply> {
  const isJson = options.body !== undefined
  const reply = await fetch(url, {
    method,
    redirect: 'manual',
    headers: { ...(isJson ? { 'content-type': 'application/json' } : {}), ...options.headers },
    body: isJson ? JSON.stringify(options.body) : (options.raw ?? null),
    ...(options.raw === undefined ? {} : { duplex: 'half' as const }),
  })
  const text = await reply.text()
  const isObject = text.startsWith('{') || text.startsWith('[')
  return { status: reply.status, text, json: isObject ? JSON.parse(text) : null, headers: reply.headers }
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

/** OpenStack as one user sees it. */
export async function client(cloud: Cloud, user: string, project: string) {
  const answer = await call('POST', `${cloud.urls.keystone}/auth/tokens`, { body: passwordOf(user, project) })
  const token = answer.headers.get('x-subject-token') ?? ''
  const auth = { 'x-auth-token': token }
  const patchType = { 'content-type': 'application/openstack-images-v2.1-json-patch' }
  return {
    token,
    projectId: answer.json.token.project.id as string,
    userId: answer.json.token.user.id as string,
    glance: (method: string, path: string, options: Parameters<typeof call>[2] = {}) =>
      call(method, `${cloud.urls.glance}/v2${path}`, { ...options, headers: { ...auth, ...options.headers } }),
    image: (id: string) => call('GET', `${cloud.urls.glance}/v2/images/${id}`, { headers: auth }),
    patch: (id: string, operations: unknown[]) =>
      call('PATCH', `${cloud.urls.glance}/v2/images/${id}`, {
        raw: JSON.stringify(operations),
        headers: { ...auth, ...patchType },
      }),
    nova: (method: string, path: string, options: Parameters<typeof call>[2] & { version?: string } = {}) =>
      call(method, `${cloud.urls.nova}${path}`, {
        ...options,
        headers: { ...auth, 'openstack-api-version': `compute ${options.version ?? '2.79'}`, ...options.headers },
      }),
  }
}
export type Client = Awaited<ReturnType<typeof client>>

export async function until<T>(what: string, look: () => Promise<T | false> | T | false, withinMs = 5000): Promise<T> {
  const end = Date.now() + withinMs
  while (Date.now() < end) {
    const found = await look()
    if (found !== false) return found
    await sleep(20)
  }
  throw new Error(`waited in vain for ${what}`)
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
    async ask(execute: string, given?: object): Promise<string> {
      const before = lines.length
      socket.write(`${JSON.stringify({ execute, ...(given ? { arguments: given } : {}) })}\n`)
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
