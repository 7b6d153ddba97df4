import { createServer, type IncomingMessage, request } from 'node:http'
import type { AddressInfo } from 'node:net'
import { leaksIn, type Canaries } from './canaries.ts'

/** Stands there in every page, and is nobody's secret: where it is found, the page's words have been. */
export const innocentMark = 'an-echo-of-the-request'

/**
 * Between the functions and a cloud: hands out tokens of its own, which no pattern knows, and answers some requests itself, with a page
 * that shows every secret of the request in every form, as an eager proxy's does.
 */
export interface EchoingProxy {
  /** where a service is reached through it */
  through: (service: string) => Promise<string>
  /** every token that was handed out, and whatever else is not to be seen */
  canaries: Canaries
  echoed: () => number
  close: () => void
}

interface Message {
  status: number
  headers: Record<string, string>
  body: string
}

/** @param isEchoed asked for each request; the status to answer it with, or null when it is passed on */
export function echoingProxy(
  canaries: Canaries,
  isEchoed: (service: string, method: string, path: string, nth: number) => number | null,
): EchoingProxy {
  const servers: ReturnType<typeof createServer>[] = []
  const proxied = new Map<string, string>()
  const trueTokens = new Map<string, string>()
  let echoed = 0

  const trueToken = (text: string | undefined) => {
    const shown = text?.replace(/^Bearer /, '') ?? ''
    return text?.replace(shown, trueTokens.get(shown) ?? shown)
  }
  function ourToken(token: string): string {
    const n = trueTokens.size + 1
    // of a JWT the middle part is read: for how long it is good
    const [, claims] = token.split('.')
    const spaced = Buffer.from(` ${Buffer.from(claims ?? '', 'base64url').toString()}`).toString('base64url')
    const ours = claims === undefined ? `canary-token-${n}-of-keystone` : `canary-token-${n}.${spaced}.of-the-dashboard`
    trueTokens.set(ours, token)
    canaries[`token ${n}`] = ours
    return ours
  }

  async function through(service: string): Promise<string> {
    const known = proxied.get(service)
    if (known !== undefined) return known
    const to = new URL(service)
    let nth = 0
    const server = createServer((asked, answer) => {
      void bodyOf(asked).then(
        async (body) => {
          const status = isEchoed(service, asked.method ?? '', asked.url ?? '', nth++)
          if (status !== null) {
            echoed += 1
            const page = { mark: innocentMark, ...secretsIn(`${JSON.stringify(asked.headers)}${body}`, canaries) }
            answer.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(page))
            return
          }
          const came = await forward(asked, body, to)
          answer.writeHead(came.status, came.headers).end(Buffer.from(came.body, 'latin1'))
        },
        () => asked.destroy(),
      )
    })
    servers.push(server)
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}${to.pathname.replace(/\/$/, '')}`
    proxied.set(service, url)
    return url
  }

  async function forward(asked: IncomingMessage, body: string, to: URL): Promise<Message> {
    const token = asked.headers['x-auth-token']
    const headers = {
      ...asked.headers,
      host: to.host,
      ...(token === undefined ? {} : { 'x-auth-token': trueToken(String(token)) }),
      ...(asked.headers.authorization === undefined ? {} : { authorization: trueToken(asked.headers.authorization) }),
    }
    const came = await new Promise<Message>((resolve, reject) => {
      const passed = request(
        { host: to.hostname, port: to.port, method: asked.method, path: asked.url, headers },
        (c) => {
          const kept = Object.entries(c.headers).filter(
            ([name]) => !/^(content-length|transfer-encoding|connection)$/.test(name),
          )
          void bodyOf(c).then(
            (text) =>
              resolve({
                status: c.statusCode ?? 500,
                headers: Object.fromEntries(kept.map(([name, value]) => [name, String(value)])),
                body: text,
              }),
            reject,
          )
        },
      )
      passed.on('error', reject).end(Buffer.from(body, 'latin1'))
    })
    return disguised(came)
  }

  /** The tokens that it gives out are ours, and so are the addresses in the catalogue. */
  async function disguised({ status, headers, body }: Message): Promise<Message> {
    const issued = headers['x-subject-token']
    const shown = (JSON.parse(body === '' ? 'null' : body) as { token?: unknown } | null)?.token
    let text = body
    if (issued !== undefined) {
      for (const [, url = ''] of body.matchAll(/"url":\s*"(http[^"]+)"/g))
        text = text.replaceAll(url, await through(url))
      return { status, headers: { ...headers, 'x-subject-token': ourToken(issued) }, body: text }
    }
    if (typeof shown === 'string') text = body.replaceAll(shown, ourToken(shown))
    return { status, headers, body: text }
  }

  return {
    through,
    canaries,
    echoed: () => echoed,
    close() {
      for (const server of servers) {
        server.close()
        server.closeAllConnections()
      }
    },
  }
}

/** Each that is in the request, in each form. */
function secretsIn(text: string, canaries: Canaries): Record<string, string> {
  const found = Object.entries(canaries).filter(([, value]) => leaksIn(text, { value }).length > 0)
  return Object.fromEntries(
    found.flatMap(([name, value]) => [
      [`a ${name}`, value],
      [`b ${name}`, Buffer.from(value).toString('base64')],
      [`c ${name}`, encodeURIComponent(value)],
    ]),
  )
}

async function bodyOf(message: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = []
  for await (const chunk of message) chunks.push(chunk as Buffer)
  // byte for byte, also of what is no text
  return Buffer.concat(chunks).toString('latin1')
}
