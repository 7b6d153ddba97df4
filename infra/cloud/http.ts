import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { LoadGauge } from './load.ts'

/** What a handler of an embedded service gets and gives back. */
export interface Request {
  method: string
  path: string
  query: URLSearchParams
  headers: IncomingMessage['headers']
  /** the body, whole; a handler that wants to stream takes `raw` and declares it with `streams` */
  body: Buffer
  raw: IncomingMessage
}
export interface Answer {
  status: number
  headers?: Record<string, string>
  /** an object is sent as JSON unless `headers` says otherwise */
  body?: unknown
}
export type Handler = (request: Request) => Promise<Answer> | Answer

/**
 * A fault to inject. The first that matches a call and has `times` left is used up by it.
 * `before` the effect nothing has happened; `after` it everything has, and the answer is lost or changed.
 */
export interface Fault {
  service: string
  method?: string
  /** a regular expression on the decoded path */
  path?: string
  when: 'before' | 'after'
  /**
   * answer: this instead. hang: no answer until the client gives up. drop: the connection is cut. kill: the service's process dies.
   * hold: the call waits for `release`, and goes on then, whether or not its client is still there.
   */
  does:
    | { is: 'answer'; status: number; headers?: Record<string, string>; body?: unknown }
    | { is: 'hang' }
    | { is: 'hold' }
    | { is: 'drop' }
    | { is: 'kill' }
  times: number
}

/** The faults of one embedded cloud, in memory: a restart forgets them. */
export function faultList() {
  const faults: Fault[] = []
  const waiting: (() => void)[] = []
  return {
    held: () => waiting.length,
    hold: () => new Promise<void>((resolve) => waiting.push(resolve)),
    release: () => waiting.splice(0).forEach((go) => go()),
    add: (fault: Fault) => void faults.push(fault),
    clear: () => void faults.splice(0),
    list: () => [...faults],
    take(service: string, method: string, path: string): Fault | undefined {
      const found = faults.find(
        (f) =>
          f.times > 0 &&
          f.service === service &&
          (f.method ?? method) === method &&
          new RegExp(f.path ?? '').test(path),
      )
      if (found) found.times -= 1
      return found
    },
  }
}
export type Faults = ReturnType<typeof faultList>

/** Serves one embedded service on 127.0.0.1, with the faults that were asked for. `streams` names the calls whose body is left unread. */
export async function serve(options: {
  service: string
  port: number
  faults: Faults
  handler: Handler
  load?: LoadGauge
  streams?: (method: string, path: string) => boolean
}): Promise<{ server: Server; port: number; close: () => Promise<void> }> {
  const { service, faults, handler } = options
  async function answer(raw: IncomingMessage, response: ServerResponse) {
    const url = new URL(raw.url ?? '/', 'http://localhost')
    const method = raw.method ?? 'GET'
    const path = url.pathname
    const fault = faults.take(service, method, decodeURIComponent(path))
    if (fault?.when === 'before' && harm(fault, raw, response)) return
    const body = options.streams?.(method, path) ? Buffer.alloc(0) : await read(raw)
    const isHeld = fault?.does.is === 'hold'
    if (isHeld && fault.when === 'before') await faults.hold()
    const result = await handler({ method, path, query: url.searchParams, headers: raw.headers, body, raw })
    if (isHeld && fault.when === 'after') await faults.hold()
    if (fault?.when === 'after' && harm(fault, raw, response)) return
    send(response, result)
  }
  const server = createServer((raw, response) => {
    const leave = options.load?.enter()
    if (leave) response.once('close', leave)
    answer(raw, response).catch((error: unknown) => {
      if (!response.headersSent) send(response, { status: 500, body: { error: String(error) } })
      else raw.socket.destroy()
    })
  })
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(options.port, '127.0.0.1', resolve)
  })
  return {
    server,
    port: (server.address() as AddressInfo).port,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
}

/** True when that is all that becomes of the call. */
function harm(fault: Fault, raw: IncomingMessage, response: ServerResponse): boolean {
  if (fault.does.is === 'hold') return false
  if (fault.does.is === 'answer') send(response, fault.does)
  if (fault.does.is === 'drop') raw.socket.destroy()
  if (fault.does.is === 'kill') process.kill(process.pid, 'SIGKILL')
  return true
}

async function read(raw: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = []
  for await (const chunk of raw) chunks.push(chunk as Buffer)
  return Buffer.concat(chunks)
}

function send(response: ServerResponse, answer: Answer): void {
  const { status, headers = {}, body } = answer
  const isText = typeof body === 'string' || Buffer.isBuffer(body)
  const bytes = body === undefined ? Buffer.alloc(0) : Buffer.from(isText ? (body as string) : JSON.stringify(body))
  const type = body === undefined || isText ? {} : { 'content-type': 'application/json' }
  response
    .writeHead(status, { ...type, 'content-length': String(bytes.length), ...headers })
    .end(status === 204 ? undefined : bytes)
}
