import type { Channel, ChannelModel, SocketOptions } from 'amqplib'
import { randomUUID } from 'node:crypto'
import { hostname } from 'node:os'
import { Failure } from '../failures.ts'
import type { Bus } from './bus-url.ts'
import { networkCode } from './http.ts'
import { type Call, decodeReply, encode, type Reply } from './nova-rpc.ts'
import { orAbort, outOfTime } from './wait.ts'

export interface NovaRpcOptions {
  bus: Bus
  /** a PEM file with the authority that signed the broker's certificate; without it one that Node knows */
  ca?: string | undefined
  /** Nova's own `[DEFAULT] control_exchange` */
  exchange: string
  timeoutMs: number
}

export type NovaRpc = (host: string, call: Call, signal: AbortSignal) => Promise<Reply>

const connectMs = 3_000
/**
 * A Lambda function is frozen between calls, and its heartbeats with it: a connection that rested is not worth the doubt. The calls
 * of one step share one. The broker hangs up on one that was frozen, after two heartbeats.
 */
const restMs = 3_000
const heartbeatS = 10

/**
 * What is not answered is under way: libvirt waits for the agent without a limit, and for its turn at the agent 30 s. nova-compute
 * has five calls to libvirt at once (libvirtd.conf max_client_requests); six of ours that wait, and it can do nothing on its
 * hypervisor (measured: Zed, libvirt 9.0). So nobody asks again before the last one has had its turn.
 */
const turnMs = 30_000

interface Session {
  model: ChannelModel
  channel: Channel
  replyQueue: string
  waiting: Map<string, { resolve: (reply: Reply) => void; reject: (error: Error) => void }>
  usedAtMs: number
}

/**
 * Calls to nova-compute over RabbitMQ. That nobody listens is known at once, from the queue's consumers and from the broker
 * returning what it cannot route. A message that was not fetched in time expires in its queue: a freeze never waits there
 * for a nova-compute that comes back later.
 */
export function novaRpc({ bus, ca, exchange, timeoutMs }: NovaRpcOptions): NovaRpc {
  let current: Promise<Session> | null = null

  return async function call(host, request, signal) {
    const what = `instance ${request.instance}: nova-compute on ${host}`
    const ends = AbortSignal.any([signal, AbortSignal.timeout(timeoutMs)])
    try {
      return await orAbort(exchanged(host, request), ends, what)
    } catch (error) {
      if (signal.aborted) throw error
      if (!(error instanceof Failure)) throw unreachable(bus, error)
      if (!ends.aborted) throw error
      const words = `${what} did not answer within ${String(timeoutMs)} ms`
      throw new Failure('GUEST_UNREACHABLE', words, { cause: error, retryInMs: turnMs })
    }
  }

  async function exchanged(host: string, request: Call): Promise<Reply> {
    const session = await fresh()
    await heard(session.model, host)
    const id = randomUUID().replaceAll('-', '')
    const { promise, resolve, reject } = Promise.withResolvers<Reply>()
    const lifeMs = Math.min(timeoutMs, (request.untilMs ?? Infinity) - Date.now())
    if (lifeMs <= 0) throw outOfTime(`${request.method} of instance ${request.instance}`)
    session.waiting.set(id, { resolve, reject })
    session.channel.publish(exchange, queueOf(host), encode(request, id, session.replyQueue), {
      messageId: id,
      contentType: 'application/json',
      contentEncoding: 'utf-8',
      mandatory: true,
      expiration: lifeMs,
    })
    try {
      return await promise
    } finally {
      session.waiting.delete(id)
      session.usedAtMs = Date.now()
    }
  }

  async function fresh(): Promise<Session> {
    const session = await current?.catch(() => null)
    if (session && Date.now() - session.usedAtMs < restMs) return session
    if (session) void session.model.close().catch(() => undefined)
    current = open()
    const opened = await current
    const rest = setInterval(() => {
      if (opened.waiting.size > 0 || Date.now() - opened.usedAtMs < restMs) return
      clearInterval(rest)
      void opened.model.close().catch(() => undefined)
    }, restMs)
    rest.unref()
    opened.model.once('close', () => clearInterval(rest))
    return opened
  }

  async function open(): Promise<Session> {
    const model = await connected()
    const waiting: Session['waiting'] = new Map()
    const end = (error?: Error) => {
      current = null
      for (const { reject } of waiting.values()) reject(error ?? new Error('the connection was closed'))
      void model.close().catch(() => undefined)
    }
    // 'close' follows each 'error', and without a listener Node would end the process
    model.on('error', end).once('close', end)
    const channel = await model.createChannel()
    channel.on('error', end).once('close', end)
    channel.on('return', ({ properties }: { properties: { messageId?: string } }) => {
      const words = `the exchange ${exchange} has no way to nova-compute`
      waiting.get(properties.messageId ?? '')?.reject(new Failure('GUEST_UNREACHABLE', words))
    })
    // ours alone, and gone with the connection
    const replyQueue = `reply_rbdsnap_${randomUUID().replaceAll('-', '')}`
    await channel.assertQueue(replyQueue, { exclusive: true, autoDelete: true, durable: false })
    const take = (content: Buffer) => {
      const { id, reply } = decodeReply(content)
      waiting.get(id)?.resolve(reply)
    }
    await channel.consume(replyQueue, (message) => (message ? take(message.content) : end()), { noAck: true })
    return { model, channel, replyQueue, waiting, usedAtMs: Date.now() }
  }

  /** Any node of the cluster will do. Read when it is first needed: most functions never freeze. */
  async function connected(): Promise<ChannelModel> {
    const { connect } = await import('amqplib')
    const options = await socketOptions(ca)
    let last: unknown
    for (const url of bus.urls) {
      try {
        return await connect(`${url}?heartbeat=${String(heartbeatS)}`, options)
      } catch (error) {
        last = error
      }
    }
    throw last
  }
}

const queueOf = (host: string) => `compute.${host}`

/** A passive declaration: it makes nothing and needs no right. A queue outlives its nova-compute. */
async function heard(model: ChannelModel, host: string): Promise<void> {
  const look = await model.createChannel()
  // that there is no such queue ends the channel
  look.on('error', () => undefined)
  const consumers = await look.checkQueue(queueOf(host)).then(
    (queue) => queue.consumerCount,
    () => 0,
  )
  await look.close().catch(() => undefined)
  if (consumers === 0) throw new Failure('GUEST_UNREACHABLE', `no nova-compute listens on the queue ${queueOf(host)}`)
}

/** As `rabbitmqctl list_connections client_properties` shows it. */
async function socketOptions(ca: string | undefined): Promise<SocketOptions> {
  const { readFile } = await import('node:fs/promises')
  return {
    timeout: connectMs,
    noDelay: true,
    clientProperties: { connection_name: `rbdsnap freeze ${String(process.pid)}@${hostname()}` },
    ...(ca === undefined ? {} : { ca: [await readFile(ca)] }),
  }
}

function unreachable({ nodes }: Bus, error: unknown): Failure {
  const words = networkCode(error) ?? (error instanceof Error ? error.message : String(error))
  return new Failure('GUEST_UNREACHABLE', `the message bus ${nodes.join(', ')}: ${words}`, { cause: error })
}
