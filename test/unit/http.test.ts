import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { exchange, type Service } from '../../shared/adapters/http.ts'

const mebibyte = 1024 * 1024
const service: Service = { name: 'Glance', unreachable: 'GLANCE_UNREACHABLE', refused: 'GLANCE_REFUSED' }
let url = ''
const server = createServer((asked, answer) => {
  if (asked.url === '/moved') return void answer.writeHead(307, { location: '/' }).end()
  asked.resume().once('end', () => answer.writeHead(204).end())
})
beforeAll(async () => {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  url = `http://127.0.0.1:${String((server.address() as AddressInfo).port)}/`
})
afterAll(() => server.close())

function put(to: string, body: ReadableStream<Uint8Array>) {
  const call = { what: 'image', method: 'PUT', url: to, body, timeoutMs: null }
  return exchange(service, { ...call, signal: AbortSignal.timeout(20_000) })
}

test('a stream that was sent is not kept', async () => {
  const beforeBytes = process.memoryUsage().arrayBuffers
  let mostBytes = 0
  let pieces = 400
  const body = new ReadableStream<Uint8Array>({
    async pull(controller) {
      // lets the collector and the socket have their turn
      await new Promise((resolve) => setImmediate(resolve))
      mostBytes = Math.max(mostBytes, process.memoryUsage().arrayBuffers)
      pieces -= 1
      if (pieces > 0) controller.enqueue(new Uint8Array(mebibyte))
      else controller.close()
    },
  })
  expect((await put(url, body)).status).toBe(204)
  expect((mostBytes - beforeBytes) / mebibyte).toBeLessThan(200)
})

test('a stream is not sent a second time where an answer leads', async () => {
  const body = new ReadableStream<Uint8Array>({ start: (controller) => controller.close() })
  await expect(put(`${url}moved`, body)).rejects.toMatchObject({ code: 'GLANCE_UNREACHABLE' })
})
