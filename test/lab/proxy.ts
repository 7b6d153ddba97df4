import { createServer, request, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { pipeline } from 'node:stream/promises'

type When = 'before' | 'after'
type Fault =
  | { does: 'cut'; method: string; when: When }
  | { does: 'answer'; status: number; headers: Record<string, string>; body: string }
  | { does: 'hang' }

/**
 * A way to a real service on which things go wrong when told so: calls are cut off before or after they took effect, answered
 * by something else, or never. What is not named passes as it is; a redirect leads where `renamed` says. Each fault is for one call.
 */
export async function openProxy(target: string, renamed = (location: string) => location) {
  const { origin, pathname } = new URL(target)
  let to = origin
  let next: Fault | null = null

  function take(method: string): Fault | null {
    if (!next || (next.does === 'cut' && next.method !== method)) return null
    const taken = next
    next = null
    return taken
  }

  async function pass(asked: IncomingMessage, answer: ServerResponse, isCutAfter: boolean): Promise<void> {
    const onward = request(`${to}${asked.url ?? '/'}`, {
      method: asked.method ?? 'GET',
      headers: { ...asked.headers, host: new URL(to).host },
    })
    const answered = new Promise<IncomingMessage>((resolve, reject) => {
      onward.once('response', resolve)
      onward.once('error', reject)
    })
    // Glance answers some uploads before it has read them, and cuts the rest off
    const sent = pipeline(asked, onward).catch(() => onward.destroy())
    asked.once('aborted', () => onward.destroy())
    const got = await answered
    if (isCutAfter) {
      for await (const _ of got);
      await sent
      asked.socket.destroy()
      return
    }
    const { location } = got.headers
    answer.writeHead(got.statusCode ?? 502, { ...got.headers, ...(location && { location: renamed(location) }) })
    await pipeline(got, answer)
  }

  const server = createServer((asked, answer) => {
    const fault = take(asked.method ?? 'GET')
    if (fault?.does === 'hang') return
    if (fault?.does === 'cut' && fault.when === 'before') return void asked.socket.destroy()
    if (fault?.does === 'answer') return void answer.writeHead(fault.status, fault.headers).end(fault.body)
    pass(asked, answer, fault?.does === 'cut').catch(() => asked.socket.destroy())
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    /** instead of the service's own URL */
    url: `http://127.0.0.1:${String((server.address() as AddressInfo).port)}${pathname.replace(/\/$/, '')}`,
    cutOff: (method: string, when: When) => void (next = { does: 'cut', method, when }),
    answer: (status: number, body: string, headers: Record<string, string> = {}) =>
      void (next = { does: 'answer', status, headers, body }),
    hang: () => void (next = { does: 'hang' }),
    /** another endpoint of the same service from now on */
    leadTo: (url: string) => void (to = new URL(url).origin),
    close: () =>
      new Promise<void>((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
}
