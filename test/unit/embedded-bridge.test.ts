import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { expect, it } from 'vitest'
import { startBridge } from '../../infra/embedded/bridge.ts'

/** The embedded Nova's bus, as `infra/cloud` serves it: what is not acknowledged is given again. */
async function openBus(many: number) {
  const waiting = Array.from({ length: many }, (_, nth) => ({ seq: nth + 1, body: { nth } }))
  const server = createServer((asked, answer) => {
    const through = Number(new URL(asked.url ?? '/', 'http://bus').searchParams.get('through'))
    if (asked.method === 'DELETE') waiting.splice(0, waiting.findLastIndex(({ seq }) => seq <= through) + 1)
    answer.end(asked.method === 'DELETE' ? '' : JSON.stringify(waiting))
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    controlUrl: `http://127.0.0.1:${String((server.address() as AddressInfo).port)}`,
    waiting: () => waiting.map(({ seq }) => seq),
    close: () => server.close().closeAllConnections(),
  }
}

it('a slow queue takes as many at once as RabbitMQ gives before the first is acknowledged', async () => {
  const bus = await openBus(40)
  const onTheWay: (() => void)[] = []
  let most = 0
  const takeAll = () => onTheWay.splice(0).forEach((taken) => taken())
  const send = () =>
    new Promise<void>((taken) => {
      most = Math.max(most, onTheWay.push(taken))
      if (onTheWay.length === 20) setImmediate(takeAll)
    })
  const bridge = startBridge({ controlUrl: bus.controlUrl, queue: { send } })
  await expect.poll(bus.waiting).toEqual([])
  await bridge.stop()
  expect(most).toBe(20)
  bus.close()
})

it('a bridge that ends in the middle of a batch has acknowledged what the queue took, and nothing else', async () => {
  const bus = await openBus(5)
  let taken = 0
  const reached = Promise.withResolvers<void>()
  const send = async () => {
    if (taken === 3) {
      reached.resolve()
      throw new Error('the queue is away')
    }
    taken += 1
  }
  const bridge = startBridge({ controlUrl: bus.controlUrl, queue: { send } })
  await reached.promise
  await bridge.stop()
  expect(bus.waiting()).toEqual([4, 5])
  bus.close()
})
