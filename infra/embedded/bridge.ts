import { setTimeout as sleep } from 'node:timers/promises'
import type { Queue } from '../../shared/ports/queue.ts'
import { carrier } from '../bridge/carry.ts'

/** From the embedded Nova's bus to the first queue, as infra/bridge does it from RabbitMQ. */
const pollMs = 1_000
const awayMs = 300

interface Delivery {
  seq: number
  body: unknown
}

export function startBridge(options: { controlUrl: string; queue: Queue }): { stop: () => Promise<void> } {
  const stopping = new AbortController()
  const { carry } = carrier({
    queue: options.queue,
    clock: { nowMs: () => Date.now() },
    pause: (ms, signal) => sleep(ms, undefined, { signal }),
    say: (line) => process.stdout.write(`${JSON.stringify(line)}\n`),
  })
  async function carryOn(): Promise<void> {
    const answer = await fetch(`${options.controlUrl}/bus?after=0&wait_ms=${pollMs}`)
    const deliveries = (await answer.json()) as Delivery[]
    for (const { seq, body } of deliveries) {
      await carry(body, stopping.signal)
      // Each by itself, as on RabbitMQ: while the cloud or this bridge dies again and again, a whole batch would never get through.
      await fetch(`${options.controlUrl}/bus?through=${seq}`, { method: 'DELETE' })
    }
  }
  const running = (async () => {
    while (!stopping.signal.aborted) {
      // The cloud is away, perhaps being restarted; its outbox is on disk.
      await carryOn().catch(() => sleep(awayMs))
    }
  })()
  return {
    async stop() {
      stopping.abort(new Error('the bridge ends'))
      await running
    },
  }
}
