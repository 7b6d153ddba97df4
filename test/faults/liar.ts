import { createServer, request, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'

/**
 * Stands between an adapter and a service, and answers one request wrongly. `instead`: the service never hears of it, as with a
 * proxy's own page; `after`: the service has done it, and its answer is spoilt on the way.
 */
export const lies = [
  'an HTML page with 200',
  'an HTML page with 502',
  'nothing',
  'JSON cut short',
  'half a body',
  'wrong types',
  'null',
] as const
export type Lie = (typeof lies)[number]
export interface Told {
  nth: number
  lie: Lie
  when: 'instead' | 'after'
}

export interface Liar {
  url: string
  heard: () => number
  close: () => Promise<void>
}

interface Answer {
  status: number
  headers: Record<string, string>
  body: Buffer
}

export async function liar(target: string, told: Told | null): Promise<Liar> {
  let heard = 0
  const to = new URL(target)

  async function answer(raw: IncomingMessage, response: ServerResponse): Promise<void> {
    const lie = told?.nth === heard++ ? told : null
    if (lie?.when === 'instead') {
      raw.resume()
      return spoil(lie.lie, { status: 200, headers: {}, body: Buffer.from('{"is": "not the service"}') }, response)
    }
    const true_ = await forward(raw, to)
    if (lie) spoil(lie.lie, true_, response)
    else response.writeHead(true_.status, true_.headers).end(true_.body)
  }
  const server = createServer((raw, response) => void answer(raw, response).catch(() => raw.socket.destroy()))
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  return {
    url: `http://127.0.0.1:${port}${to.pathname.replace(/\/$/, '')}`,
    heard: () => heard,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
}

function forward(raw: IncomingMessage, to: URL): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const passed = request(
      {
        host: to.hostname,
        port: to.port,
        method: raw.method,
        path: raw.url,
        headers: { ...raw.headers, host: to.host },
      },
      (came) => {
        const chunks: Buffer[] = []
        came.on('data', (chunk: Buffer) => chunks.push(chunk))
        came.on('error', reject)
        came.on('end', () => {
          const body = Buffer.concat(chunks)
          const headers = Object.fromEntries(Object.entries(came.headers).map(([name, value]) => [name, String(value)]))
          delete headers['transfer-encoding']
          resolve({ status: came.statusCode ?? 500, headers: { ...headers, connection: 'close' }, body })
        })
      },
    )
    passed.on('error', reject)
    raw.pipe(passed)
  })
}

const page = Buffer.from('<html><body><h1>An error page</h1></body></html>')

function spoil(lie: Lie, { status, headers, body }: Answer, response: ServerResponse): void {
  const kept = Object.fromEntries(Object.entries(headers).filter(([name]) => !/^content-/.test(name)))
  const send = (code: number, type: string, bytes: Buffer) =>
    response.writeHead(code, { ...kept, 'content-type': type, 'content-length': bytes.length }).end(bytes)
  switch (lie) {
    case 'an HTML page with 200':
      return void send(200, 'text/html', page)
    case 'an HTML page with 502':
      return void send(502, 'text/html', page)
    case 'nothing':
      return void send(status === 204 ? 200 : status, 'application/json', Buffer.alloc(0))
    case 'JSON cut short':
      return void send(status === 204 ? 200 : status, 'application/json', body.subarray(0, Math.ceil(body.length / 2)))
    case 'half a body':
      response.writeHead(status === 204 ? 200 : status, { ...kept, 'content-length': body.length + 100 })
      return void response.write(body, () => response.destroy())
    case 'wrong types':
      return void send(status === 204 ? 200 : status, 'application/json', twisted(body))
    case 'null':
      return void send(status === 204 ? 200 : status, 'application/json', Buffer.from('null'))
  }
}

/** Every text a number and every number a text, at its place. */
function twisted(body: Buffer): Buffer {
  const twist = (value: unknown): unknown => {
    if (typeof value === 'string') return 7
    if (typeof value === 'number' || typeof value === 'boolean') return 'seven'
    if (Array.isArray(value)) return value.map(twist)
    if (value === null) return { no: 'null' }
    if (typeof value !== 'object') return null
    return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, twist(inner)]))
  }
  try {
    return Buffer.from(JSON.stringify(twist(JSON.parse(body.toString()))))
  } catch {
    return Buffer.from('[7]')
  }
}
