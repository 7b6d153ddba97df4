import { SQSClient } from '@aws-sdk/client-sqs'
import { setTimeout as sleep } from 'node:timers/promises'
import { sqs } from '../../shared/adapters/sqs.ts'
import { blacken } from '../../shared/blacken.ts'
import { readBridgeConfig } from '../../shared/config.ts'
import { carrier } from './carry.ts'
import { consume } from './rabbit.ts'
import { readBusSettings } from './settings.ts'

/**
 * `rbdsnap bridge`: Nova's notifications from RabbitMQ to the first queue (docs/operate.md, "Notifications"). Any number of them
 * may run beside each other. One line of JSON to stdout for whatever changes, and one a minute that says how far behind it is.
 */
export async function runBridge(env: Record<string, string | undefined>): Promise<void> {
  const { RBDSNAP_QUEUE_PREFIX } = readBridgeConfig(env)
  const bus = readBusSettings(env)
  // A queue that accepts and never answers must not hold a notification for ever.
  const requestHandler = { connectionTimeout: 3_000, requestTimeout: 10_000, throwOnRequestTimeout: true }
  const { carry, carried } = carrier({
    queue: sqs(new SQSClient({ requestHandler }), RBDSNAP_QUEUE_PREFIX),
    clock: { nowMs: () => Date.now() },
    pause: (ms, signal) => sleep(ms, undefined, { signal }),
    say,
  })
  let isReady = false
  const consumer = consume({
    bus,
    carry,
    say,
    looked({ bound, waiting, bridges, words }) {
      const { taken, unreadable, held, oldestHeldMs, lastAtMs } = carried()
      say({
        says: bound ? 'carrying' : `waiting: not bound to the exchange ${bus.exchange}`,
        ...(words === undefined ? {} : { words }),
        ...{ waiting, bridges, held, oldest_held_ms: oldestHeldMs, taken, unreadable },
        last_at: lastAtMs === null ? null : new Date(lastAtMs).toISOString(),
      })
      if (!isReady) process.stdout.write('bridge ready\n')
      isReady = true
    },
  })
  await new Promise<void>((resolve) => {
    process.once('SIGTERM', resolve)
    process.once('SIGINT', resolve)
  })
  await consumer.stop()
  // A connection that waits for a queue without a leader cannot be closed (amqplib, RabbitMQ 3.10).
  process.exit(0)
}

function say(line: Record<string, unknown>): void {
  process.stdout.write(`${blacken(JSON.stringify({ at: new Date().toISOString(), part: 'bridge', ...line }))}\n`)
}

if (import.meta.main) {
  await runBridge(process.env).catch((error: unknown) => {
    process.stderr.write(`error: ${error instanceof Error ? error.message : String(error)}\n`)
    process.exitCode = 1
  })
}
