import { connect } from 'amqplib'
import { connectOptions, type BusSettings } from './settings.ts'

export interface Backlog {
  /** notifications that no bridge has been given yet */
  waiting: number
  bridges: number
}

/** How far behind the bridges are, asked of RabbitMQ itself. @throws in amqplib's words when no node answers, or there is no such queue yet */
export async function backlog(bus: BusSettings): Promise<Backlog> {
  let last: unknown
  for (const url of bus.urls) {
    try {
      return await ask(url, bus)
    } catch (error) {
      last = error
    }
  }
  throw last
}

async function ask(url: string, bus: BusSettings): Promise<Backlog> {
  const connection = await connect(url, connectOptions(bus, 'status'))
  connection.on('error', () => undefined)
  try {
    const channel = await connection.createChannel()
    channel.on('error', () => undefined)
    const { messageCount, consumerCount } = await channel.checkQueue(bus.queue)
    return { waiting: messageCount, bridges: consumerCount }
  } finally {
    await connection.close()
  }
}
