import type { Channel } from 'amqplib'
import { randomUUID } from 'node:crypto'
import * as z from 'zod/mini'
import { parseJson } from '../../shared/adapters/http.ts'
import type { BusSettings } from '../bridge/settings.ts'
import { onChannel } from './bus.ts'

/** A compute that is up answers in tenths of a second; one that is down would take its report interval to be seen. */
const patienceMs = 5_000

const envelope = z.object({ 'oslo.message': z.string() })
const reply = z.object({ _msg_id: z.string() })

/**
 * Nova's own ping, which every service of it serves and which does nothing (nova/baserpc.py): the same road there and back as a
 * freeze. @returns the hosts that answered
 */
export async function ping(bus: BusSettings, hosts: string[]): Promise<Set<string>> {
  return onChannel(bus, async (channel) => {
    // named as that of a freeze: the rights of a user of the bus may be cut to names
    const name = `reply_rbdsnap_${randomUUID().replaceAll('-', '')}`
    const { queue } = await channel.assertQueue(name, { exclusive: true, autoDelete: true, durable: false })
    const ids = new Map(hosts.map((host) => [randomUUID().replaceAll('-', ''), host]))
    const answers = answersTo(channel, queue, ids)
    for (const [id, host] of ids)
      channel.publish(bus.exchange, `compute.${host}`, encode(id, queue), {
        messageId: id,
        contentType: 'application/json',
        contentEncoding: 'utf-8',
        mandatory: true,
        expiration: patienceMs,
      })
    return answers
  })
}

/** All, or those that answered in time. What the bus cannot route comes back at once. */
async function answersTo(channel: Channel, queue: string, ids: Map<string, string>): Promise<Set<string>> {
  const { promise, resolve, reject } = Promise.withResolvers<undefined>()
  const answered = new Set<string>()
  const open = new Set(ids.keys())
  const done = (id: string) => {
    open.delete(id)
    if (open.size === 0) resolve(undefined)
  }
  channel.on('return', ({ properties }: { properties: { messageId?: string } }) => done(properties.messageId ?? ''))
  channel.once('error', reject)
  await channel.consume(
    queue,
    (message) => {
      const id = repliesTo(message?.content)
      const host = ids.get(id)
      if (host !== undefined) answered.add(host)
      done(id)
    },
    { noAck: true },
  )
  const timer = setTimeout(() => resolve(undefined), patienceMs)
  await promise.finally(() => clearTimeout(timer))
  return answered
}

function encode(id: string, replyQueue: string): Buffer {
  const message = {
    method: 'ping',
    namespace: 'baseapi',
    version: '1.0',
    args: { arg: 'rbdsnap doctor' },
    _msg_id: id,
    _reply_q: replyQueue,
    _timeout: null,
    _unique_id: randomUUID().replaceAll('-', ''),
    _context_is_admin: true,
    _context_project_id: null,
    _context_user_id: null,
    _context_request_id: `req-${randomUUID()}`,
  }
  return Buffer.from(JSON.stringify({ 'oslo.version': '2.0', 'oslo.message': JSON.stringify(message) }))
}

/** An error is an answer too: it came from there and back. Empty for what is none. */
function repliesTo(body: Buffer | undefined): string {
  const outer = envelope.safeParse(parseJson(body?.toString('utf8') ?? ''))
  const inner = reply.safeParse(outer.success ? parseJson(outer.data['oslo.message']) : undefined)
  return inner.success ? inner.data._msg_id : ''
}
