import { connect, type Channel } from 'amqplib'
import { randomUUID } from 'node:crypto'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { backlog } from '../../infra/bridge/backlog.ts'
import { readBusSettings } from '../../infra/bridge/settings.ts'
import { startBridgeProcess, type BridgeProcess } from './support/bridge.ts'
import { firstQueue, type FirstQueue } from './support/first-queue.ts'
import { ownRabbit, type Rabbit } from './support/rabbit.ts'
import { pause, waitFor } from './support/wait.ts'

/** The bridge's program against a RabbitMQ of its own, which may be killed, with the rights that docs/operate.md asks for. */
const rights = { configure: '^rbdsnap', write: '^rbdsnap', read: '^(rbdsnap|nova)' }

let rabbit: Rabbit
beforeAll(async () => {
  rabbit = await ownRabbit(rights)
  await rabbit.start()
})
afterAll(() => rabbit.remove())

let first: FirstQueue
let queue = ''
let bridges: BridgeProcess[] = []
beforeEach(async () => {
  first = await firstQueue()
  queue = `rbdsnap-${randomUUID().slice(0, 8)}`
  bridges = []
})
afterEach(async () => {
  for (const bridge of bridges) {
    await bridge.kill()
    expect(bridge.output()).not.toContain(new URL(rabbit.amqp).password)
  }
  await first.close()
})

function settings(more: Record<string, string> = {}): Record<string, string> {
  return { ...first.env, RBDSNAP_BUS_URL: rabbit.bridgeUrl, RBDSNAP_BUS_QUEUE: queue, ...more }
}

function bridge(more: Record<string, string> = {}): BridgeProcess {
  const started = startBridgeProcess(settings(more))
  bridges.push(started)
  return started
}

/** A bridge that hears what is published from now on. */
async function boundBridge(more: Record<string, string> = {}): Promise<BridgeProcess> {
  await nova((channel) => declareExchange(channel))
  const started = bridge(more)
  await started.untilItSays('"says":"carrying"')
  return started
}

/** As oslo.messaging declares it by default (amqp_durable_queues=false). */
const declareExchange = (channel: Channel, name = 'nova') => channel.assertExchange(name, 'topic', { durable: false })

async function nova<T>(act: (channel: Channel) => Promise<T>): Promise<T> {
  const connection = await connect(rabbit.amqp)
  try {
    const channel = await connection.createConfirmChannel()
    channel.on('error', () => undefined)
    const done = await act(channel)
    await channel.waitForConfirms()
    return done
  } finally {
    await connection.close().catch(() => undefined)
  }
}

const notification = (id: string) => ({
  event_type: 'instance.update',
  message_id: id,
  timestamp: '2026-11-23 10:00:00.000000',
  payload: { 'nova_object.data': { uuid: randomUUID(), tenant_id: 'p', tags: [] } },
})

async function publish(ids: string[], key = 'versioned_notifications.info', exchange = 'nova'): Promise<void> {
  await nova(async (channel) => {
    await declareExchange(channel, exchange)
    for (const id of ids) {
      const body = JSON.stringify({ 'oslo.version': '2.0', 'oslo.message': JSON.stringify(notification(id)) })
      channel.publish(exchange, key, Buffer.from(body), { persistent: true })
    }
  })
}

const idsOf = ({ taken }: FirstQueue) =>
  taken.map((heard) => (heard.is === 'notification' ? heard.messageId : heard.is))
const some = (count: number) => Array.from({ length: count }, () => randomUUID())

/** The first queue has all of these, each at least once. */
const untilTaken = (ids: string[]) =>
  waitFor(
    'all are taken',
    () => Promise.resolve(idsOf(first)),
    (taken) => ids.every((id) => taken.includes(id)),
  )

const waiting = () => backlog(readBusSettings(settings()))
const untilNothingWaits = () => waitFor('nothing waits', waiting, (left) => left.waiting === 0, 30_000)

describe('the bridge on RabbitMQ', () => {
  it('carries every topic and priority of Nova, and makes and reads no queue but its own', async () => {
    await boundBridge()
    const keys = [
      'versioned_notifications.info',
      'versioned_notifications.error',
      'notifications.info',
      'notifications.error',
    ]
    const ids = some(keys.length)
    for (const [i, key] of keys.entries()) await publish([ids[i] ?? ''], key)
    await untilTaken(ids)
    expect(idsOf(first)).toHaveLength(keys.length)
    await expect(nova((channel) => channel.checkQueue('versioned_notifications.info'))).rejects.toThrow('NOT_FOUND')
  })

  it("waits for Nova's exchange, says so, and does not declare it", async () => {
    const exchange = `nova-${queue}`
    const started = bridge({ RBDSNAP_BUS_EXCHANGE: exchange })
    await started.untilItSays(`not bound to the exchange ${exchange}`)
    // durable: what a bridge that had declared it otherwise would make Nova fail with
    await nova((channel) => channel.assertExchange(exchange, 'topic', { durable: true }))
    await started.untilItSays('"says":"carrying"')
    const body = JSON.stringify(notification('late'))
    await nova(async (channel) => void channel.publish(exchange, 'notifications.info', Buffer.from(body)))
    await untilTaken(['late'])
  })

  it('is given a notification again when it is killed between the queue and the acknowledgement', async () => {
    const doomed = await boundBridge()
    first.beforeAnswer = () => process.kill(doomed.pid, 'SIGKILL')
    const [id = ''] = some(1)
    await publish([id])
    await untilTaken([id])
    await doomed.kill()
    first.beforeAnswer = () => undefined
    bridge()
    await waitFor(
      'it is taken again',
      () => Promise.resolve(idsOf(first)),
      (taken) => taken.length === 2,
    )
    expect(idsOf(first)).toEqual([id, id])
    await untilNothingWaits()
  })

  it('loses nothing while the first queue is away, and holds no more than it may', async () => {
    const started = await boundBridge()
    first.isAway = true
    const ids = some(50)
    await publish(ids)
    await started.untilItSays('the queue does not take notifications; they wait')
    await waitFor('the rest stays on the bus', waiting, (left) => left.waiting === 30)
    first.isAway = false
    await untilTaken(ids)
    await untilNothingWaits()
    expect(idsOf(first)).toHaveLength(50)
  })

  it('goes on after the broker was killed with notifications not acknowledged, and is bound again', async () => {
    const started = await boundBridge()
    first.isAway = true
    const ids = some(30)
    await publish(ids)
    await started.untilItSays('the queue does not take notifications; they wait')
    // RabbitMQ 3.10 writes the name of a new quorum queue to the disk half a second later, and cannot use a queue without it.
    await pause(2_000)
    await rabbit.kill()
    await started.untilItSays('"says":"disconnected"')
    await rabbit.start()
    await started.untilItSays('not bound to the exchange nova')
    first.isAway = false
    await untilTaken(ids)
    await nova((channel) => declareExchange(channel))
    await waitFor(
      'it is bound',
      () => Promise.resolve(started.output().split('"says":"carrying"').length),
      (n) => n === 3,
    )
    const later = some(3)
    await publish(later)
    await untilTaken(later)
    await untilNothingWaits()
  })

  it('shares its queue with other bridges, and what one of them drops another takes', async () => {
    const one = await boundBridge()
    const other = await boundBridge()
    await waitFor('both are there', waiting, (seen) => seen.bridges === 2)
    const ids = some(40)
    await publish(ids)
    await untilTaken(ids)
    expect(idsOf(first)).toHaveLength(40)
    first.isAway = true
    const more = some(10)
    await publish(more)
    for (const each of [one, other]) await each.untilItSays('they wait')
    await one.kill()
    first.isAway = false
    await untilTaken(more)
    await untilNothingWaits()
  })

  it('carries a message that nobody can read on to be parked, once', async () => {
    await boundBridge()
    await nova(async (channel) => {
      for (const poison of ['{"oops', '', 'x'.repeat(2 * 1024 * 1024)])
        channel.publish('nova', 'notifications.info', Buffer.from(poison))
      return Promise.resolve()
    })
    const [id = ''] = some(1)
    await publish([id])
    await untilTaken([id])
    await untilNothingWaits()
    await waitFor(
      'all four are taken',
      () => Promise.resolve(idsOf(first)),
      (taken) => taken.length === 4,
    )
    expect(idsOf(first).filter((is) => is === 'unreadable')).toHaveLength(3)
  })

  it('ends on SIGTERM with status 0 and leaves what it holds on the bus', async () => {
    const started = await boundBridge()
    first.isAway = true
    const [id = ''] = some(1)
    await publish([id])
    await started.untilItSays('they wait')
    expect(await started.stop()).toBe(0)
    expect(await waiting()).toEqual({ waiting: 1, bridges: 0 })
    first.isAway = false
    bridge()
    await untilTaken([id])
  })

  it('makes its queue again when somebody deletes it', async () => {
    const started = await boundBridge()
    await nova((channel) => channel.deleteQueue(queue))
    await waitFor(
      'it is bound again',
      () => Promise.resolve(started.output().split('"says":"carrying"').length),
      (n) => n === 3,
    )
    const [id = ''] = some(1)
    await publish([id])
    await untilTaken([id])
  })

  it('goes to the next node when one is down', async () => {
    const { username, password, host } = new URL(rabbit.amqp)
    const cluster = `rabbit://${username}:${password}@127.0.0.1:1,${username}:${password}@${host}/`
    const started = await boundBridge({ RBDSNAP_BUS_URL: cluster })
    expect(started.output()).toContain('"says":"cannot connect","node":"127.0.0.1:1"')
    const [id = ''] = some(1)
    await publish([id])
    await untilTaken([id])
  })

  it('speaks TLS, to a broker whose certificate it can verify and to no other', async () => {
    const blind = bridge({ RBDSNAP_BUS_URL: rabbit.secureUrl })
    await blind.untilItSays('cannot connect')
    expect(blind.output()).toMatch(/certificate/)
    expect(blind.output()).not.toContain('"says":"connected"')
    await boundBridge({ RBDSNAP_BUS_URL: rabbit.secureUrl, RBDSNAP_BUS_CA: rabbit.ca })
    const [id = ''] = some(1)
    await publish([id])
    await untilTaken([id])
  })
})
