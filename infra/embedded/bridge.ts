import { hear } from '../../shared/notification.ts'
import type { Queue } from '../../shared/ports/queue.ts'
import { messageVersion } from '../../shared/run.ts'

/**
 * From the embedded Nova's bus to the first queue. Read -> send -> acknowledge, so that a notification is never lost and may
 * come twice; what is heard of it is taken at this door (shared/notification.ts), so nothing secret reaches the queue.
 */
const pollMs = 1_000

interface Delivery {
  seq: number
  body: unknown
}

export function startBridge(options: { controlUrl: string; queue: Queue }): { stop: () => Promise<void> } {
  const state = { isStopped: false }
  const running = (async () => {
    while (!state.isStopped) {
      const deliveries = await read(options.controlUrl)
      try {
        for (const { body } of deliveries) {
          await options.queue.send({ v: messageVersion, step: 'ingest', tries: 0, heard: hear(body) })
        }
        const last = deliveries.at(-1)
        if (last) await fetch(`${options.controlUrl}/bus?through=${last.seq}`, { method: 'DELETE' })
      } catch {
        await pause(300)
      }
    }
  })()
  return {
    async stop() {
      state.isStopped = true
      await running
    },
  }
}

async function read(controlUrl: string): Promise<Delivery[]> {
  try {
    const answer = await fetch(`${controlUrl}/bus?after=0&wait_ms=${pollMs}`)
    return answer.ok ? ((await answer.json()) as Delivery[]) : []
  } catch {
    // The cloud is away, perhaps being restarted; its outbox is on disk.
    await pause(300)
    return []
  }
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms))
}
