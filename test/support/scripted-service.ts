import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'

export interface ScriptedService {
  url: string
  /** method and path of each request, with its headers and body */
  asked: { line: string; headers: IncomingMessage['headers']; body: string }[]
  /** who answers from now on, and nothing is asked yet */
  answer: (by: (request: IncomingMessage, response: ServerResponse) => void) => void
  close: () => Promise<void>
}

/** A service on this machine that answers what a test tells it. */
export async function scriptedService(): Promise<ScriptedService> {
  const asked: ScriptedService['asked'] = []
  let by: (request: IncomingMessage, response: ServerResponse) => void = (_, response) => void response.end()
  const server = createServer((request, response) => {
    const chunks: Buffer[] = []
    request.on('data', (chunk: Buffer) => chunks.push(chunk))
    request.on('end', () => {
      const body = Buffer.concat(chunks).toString()
      asked.push({ line: `${request.method ?? ''} ${request.url ?? ''}`, headers: request.headers, body })
      by(request, response)
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    asked,
    answer(next) {
      by = next
      asked.length = 0
    },
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
}

/** JSON, as the services send it. */
export const json =
  (body: unknown, status = 200, headers: Record<string, string> = {}) =>
  (_request: IncomingMessage, response: ServerResponse): void => {
    response.writeHead(status, { 'content-type': 'application/json', ...headers }).end(JSON.stringify(body))
  }
