import { setTimeout as sleep } from 'node:timers/promises'
import type { Queue } from '../../shared/ports/queue.ts'
import { carrier, prefetch } from '../bridge/carry.ts'

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
    // A few at a time, as RabbitMQ gives them: while the cloud or this bridge dies again and again, a thousand would never get through.
    for (let at = 0; at < deliveries.length; at += prefetch) {
      const given = deliveries.slice(at, at + prefetch)
      const carried = await Promise.allSettled(given.map(({ body }) => carry(body, stopping.signal)))
      const lost = carried.findIndex(({ status }) => status === 'rejected')
      const last = given.slice(0, lost < 0 ? given.length : lost).at(-1)
      if (last) await fetch(`${options.controlUrl}/bus?through=${last.seq}`, { method: 'DELETE' })
      if (lost >= 0) return
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
