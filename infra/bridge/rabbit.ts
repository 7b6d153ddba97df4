import { connect, type Channel, type ChannelModel, type ConsumeMessage, type RecoveringChannelModel } from 'amqplib'
import { setTimeout as sleep } from 'node:timers/promises'
import { prefetch } from './carry.ts'
import { connectOptions, queueOptions, type BusSettings } from './settings.ts'

/**
 * Nova's notifications from RabbitMQ, through a durable quorum queue of our own. Nova's exchange is only looked at and bound to,
 * never declared: with another `durable` than Nova's own, Nova would be refused its exchange (oslo.messaging
 * `amqp_durable_queues`). Queues of others are neither made nor read.
 *
 * One road back from everything: whatever ends the channel (a broker that restarts, a queue that was deleted, RabbitMQ's
 * consumer_timeout of 30 minutes) ends the connection, and amqplib's recovery makes connection, channel, prefetch, queue,
 * consumer and bindings again. What was not acknowledged is then given again, to whichever bridge is there.
 *
 * An exchange that is not durable, as Nova's is by default, is gone with its bindings when the broker restarts, until some
 * service of Nova's declares it again. Therefore the bindings are made anew all the time, quickly while the exchange is missing.
 */
export interface Consumer {
  /** takes no more, waits for what the first queue is taking, leaves the rest to the next bridge */
  stop: () => Promise<void>
}

export interface ConsumerOptions {
  bus: BusSettings
  /** acknowledged when it ends; `lost` says that this delivery can no longer be */
  carry: (body: Uint8Array, lost: AbortSignal) => Promise<void>
  /** after each look at our queue */
  looked: (at: { bound: boolean; waiting: number; bridges: number; words?: string }) => void
  say: (line: Record<string, unknown>) => void
}

const noLeader = (queue: string) =>
  `waiting: the queue ${queue} has no leader; are most nodes of RabbitMQ down? \`rabbitmq-queues quorum_status ${queue}\``

const triesANode = 2
const firstLookMs = 250
const longestLookMs = 5_000
const lookEveryMs = 60_000
const slowAfterMs = 10_000
const drainWithinMs = 5_000

export function consume({ bus, carry, looked, say }: ConsumerOptions): Consumer {
  const stopping = new AbortController()
  const carrying = new Set<Promise<void>>()
  let connection: RecoveringChannelModel | null = null
  let cancel: () => Promise<unknown> = () => Promise.resolve()

  async function open(nth: number): Promise<void> {
    const node = bus.nodes[nth % bus.nodes.length]
    const isOnly = bus.urls.length === 1
    const recovery = {
      initialDelay: 200,
      maxDelay: 10_000,
      maxRetries: isOnly ? Infinity : triesANode,
      waitForConnect: false,
      setup: begin,
    }
    connection = await connect(bus.urls[nth % bus.urls.length] ?? '', { ...connectOptions(bus, 'bridge'), recovery })
    connection.on('connect', () => say({ says: 'connected', node }))
    connection.on('disconnect', (error) => say({ says: 'disconnected', node, words: error.message }))
    connection.on('connect-failed', (error) => say({ says: 'cannot connect', node, words: error.message }))
    connection.on('error', (error) => say({ says: 'the connection failed', node, words: error.message }))
    connection.on('reconnect-failed', () => void (stopping.signal.aborted || open(nth + 1)))
    if (stopping.signal.aborted) await connection.close()
  }

  async function begin(model: ChannelModel): Promise<void> {
    // said by 'disconnect'; without a listener Node would end the process
    model.on('error', () => undefined)
    const channel = await model.createChannel()
    const gone = new AbortController()
    const end = () => void model.close().catch(() => undefined)
    channel.on('error', (error) => say({ says: 'the channel failed', words: error.message }))
    channel.on('close', () => {
      gone.abort(new Error('the channel is closed'))
      end()
    })
    await channel.prefetch(prefetch)
    await channel.assertQueue(bus.queue, queueOptions)
    // Without a leader a quorum queue lets its consumers wait, and serves them as soon as it has one.
    const slow = setTimeout(() => say({ says: noLeader(bus.queue) }), slowAfterMs)
    const { consumerTag } = await channel
      .consume(bus.queue, (message) => {
        if (message) take(message, channel, gone.signal)
        else end()
      })
      .finally(() => clearTimeout(slow))
    cancel = () => channel.cancel(consumerTag)
    void keepBound(model, gone.signal)
  }

  function take(message: ConsumeMessage, channel: Channel, gone: AbortSignal): void {
    const work = carry(message.content, AbortSignal.any([gone, stopping.signal]))
      .then(() => gone.aborted || channel.ack(message))
      // Not acknowledged: it is given again when this connection ends.
      .catch(
        (error: unknown) =>
          gone.aborted || stopping.signal.aborted || say({ says: 'not carried', words: String(error) }),
      )
      .finally(() => carrying.delete(work))
      .then(() => undefined)
    carrying.add(work)
  }

  async function keepBound(model: ChannelModel, gone: AbortSignal): Promise<void> {
    for (let pauseMs = firstLookMs; !gone.aborted; pauseMs = Math.min(longestLookMs, pauseMs * 2)) {
      const at = await look(model)
      if (gone.aborted) return
      looked(at)
      if (at.bound) pauseMs = firstLookMs / 2
      await sleep(at.bound ? lookEveryMs : pauseMs, undefined, { signal: gone, ref: false }).catch(() => undefined)
    }
  }

  /** On a channel of its own: RabbitMQ closes the channel on which something was asked for that is not there. */
  async function look(model: ChannelModel) {
    let waiting = 0
    let bridges = 0
    try {
      const channel = await model.createChannel()
      channel.on('error', () => undefined)
      const queue = await channel.checkQueue(bus.queue)
      waiting = queue.messageCount
      bridges = queue.consumerCount
      await channel.checkExchange(bus.exchange)
      for (const topic of bus.topics) await channel.bindQueue(bus.queue, bus.exchange, `${topic}.*`)
      await channel.close()
      return { bound: true, waiting, bridges }
    } catch (error) {
      return { bound: false, waiting, bridges, words: (error as Error).message }
    }
  }

  void open(0)
  return {
    async stop() {
      await cancel().catch(() => undefined)
      // No more tries; what the queue is taking at this moment is waited for.
      stopping.abort(new Error('the bridge ends'))
      await Promise.race([Promise.all(carrying), sleep(drainWithinMs, undefined, { ref: false })])
      await connection?.close()
    },
  }
}
