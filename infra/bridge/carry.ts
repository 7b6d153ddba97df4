import { hear } from '../../shared/notification.ts'
import type { Clock } from '../../shared/ports/clock.ts'
import type { Queue } from '../../shared/ports/queue.ts'
import { messageVersion, type Message } from '../../shared/run.ts'

/**
 * From the bus to the first queue: heard -> taken by the queue -> acknowledged to the bus, never in another order. Whatever
 * dies in between, the bus gives the notification again, and a wish that is heard twice is one run.
 *
 * - What is heard is taken at this door (shared/notification.ts), so nothing secret reaches the queue.
 * - What cannot be read is carried as `unreadable` and parked by `ingest`: nothing that is on the bus can stop the bridge.
 * - While the queue is away a notification is held and tried again, never given back: the bus would give it again at once, and
 *   a quorum queue drops what was given back too often.
 */
export interface Carrier {
  /** Ends when the queue has taken it. @throws whatever `lost` was aborted with: the bus no longer waits for this delivery */
  carry(body: unknown, lost: AbortSignal): Promise<void>
  carried(): Carried
}

export interface Carried {
  taken: number
  unreadable: number
  /** deliveries that the queue has not taken yet */
  held: number
  oldestHeldMs: number
  lastAtMs: number | null
}

export interface CarrierOptions {
  queue: Queue
  clock: Clock
  /** @throws the signal's reason */
  pause: (ms: number, signal: AbortSignal) => Promise<void>
  say: (line: Record<string, unknown>) => void
}

/** Sends to the queue at once, and what is delivered twice when a bridge dies. */
export const prefetch = 20

/** SQS took no more until 2025, and what speaks its protocol may still not. */
const mostBytes = 256 * 1024
const keptCharacters = 16 * 1024
const firstPauseMs = 500
const longestPauseMs = 30_000

export function carrier({ queue, clock, pause, say }: CarrierOptions): Carrier {
  const heldSinceMs = new Map<symbol, number>()
  let taken = 0
  let unreadable = 0
  let lastAtMs: number | null = null
  let isQueueAway = false

  async function untilTaken(message: Message, lost: AbortSignal): Promise<void> {
    for (let pauseMs = firstPauseMs; ; pauseMs = Math.min(longestPauseMs, pauseMs * 2)) {
      lost.throwIfAborted()
      try {
        await queue.send(message)
        if (isQueueAway) say({ says: 'the queue takes notifications again' })
        isQueueAway = false
        return
      } catch (error) {
        if (!isQueueAway) say({ says: 'the queue does not take notifications; they wait', words: String(error) })
        isQueueAway = true
        await pause(pauseMs, lost)
      }
    }
  }

  return {
    async carry(body, lost) {
      const delivery = Symbol('delivery')
      lastAtMs = clock.nowMs()
      heldSinceMs.set(delivery, lastAtMs)
      try {
        const message = asMessage(body)
        await untilTaken(message, lost)
        taken += 1
        if (message.heard.is === 'unreadable') {
          unreadable += 1
          say({ says: 'cannot be read, to be parked', words: message.heard.why })
        }
      } finally {
        heldSinceMs.delete(delivery)
      }
    },
    carried: () => ({
      taken,
      unreadable,
      held: heldSinceMs.size,
      oldestHeldMs: Math.max(0, ...[...heldSinceMs.values()].map((sinceMs) => clock.nowMs() - sinceMs)),
      lastAtMs,
    }),
  }
}

function asMessage(body: unknown) {
  const heardAs = (heard: ReturnType<typeof hear>) =>
    ({ v: messageVersion, step: 'ingest', tries: 0, heard }) satisfies Message
  const message = heardAs(hear(body))
  const bytes = Buffer.byteLength(JSON.stringify(message))
  if (bytes <= mostBytes) return message
  // Thousands of tags, say. Nova allows 50 on a server: somebody else wrote this.
  const text = JSON.stringify(message.heard).slice(0, keptCharacters)
  return heardAs({ is: 'unreadable', text, why: `${bytes} bytes of it concern us, more than a queue takes` })
}
