import type { Options, SocketOptions } from 'amqplib'
import { readFileSync } from 'node:fs'
import { hostname } from 'node:os'
import { readBusUrl } from '../../shared/adapters/bus-url.ts'
import { readBusConfig } from '../../shared/config.ts'
import { Failure } from '../../shared/failures.ts'

/** Which bus, what of it, and where on it we keep what is not carried yet. */
export interface BusSettings {
  /** one a node, with credentials: never to be shown */
  urls: string[]
  /** the nodes in the same order, for words */
  nodes: string[]
  /** of the authority that signed the nodes' certificates; null: one that Node knows */
  ca: string | null
  exchange: string
  topics: string[]
  queue: string
}

/** @throws Failure BAD_SETTING */
export function readBusSettings(env: Record<string, string | undefined>): BusSettings {
  const config = readBusConfig(env)
  return {
    ...readBusUrl(config.RBDSNAP_BUS_URL),
    ca: config.RBDSNAP_BUS_CA === undefined ? null : readCa(config.RBDSNAP_BUS_CA),
    exchange: config.RBDSNAP_BUS_EXCHANGE,
    topics: config.RBDSNAP_BUS_TOPICS,
    queue: config.RBDSNAP_BUS_QUEUE,
  }
}

/** How RabbitMQ's own tools show the connection: `rabbitmqctl list_connections client_properties`. */
export function connectOptions({ ca }: BusSettings, who: string): SocketOptions {
  return {
    timeout: 10_000,
    keepAlive: true,
    noDelay: true,
    clientProperties: { connection_name: `rbdsnap ${who} ${process.pid}@${hostname()}` },
    ...(ca === null ? {} : { ca: [Buffer.from(ca)] }),
  }
}

/**
 * The limit on deliveries is so high that it is none, said in the one way that every RabbitMQ takes: up to 3.13 no limit is the
 * default and -1 is refused, from 4.0 the 21st delivery of a message drops it unless the queue says otherwise, and a queue that
 * was declared once must be declared the same for ever.
 */
export const queueOptions = {
  durable: true,
  arguments: { 'x-queue-type': 'quorum', 'x-delivery-limit': 1_000_000 },
} satisfies Options.AssertQueue

function readCa(path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch (error) {
    throw new Failure('BAD_SETTING', `RBDSNAP_BUS_CA: ${(error as Error).message}`)
  }
}
