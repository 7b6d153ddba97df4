import { visibilityMs } from '../../shared/drive.ts'
import { message as messageSchema, type Message } from '../../shared/run.ts'
import type { Queue } from '../../shared/ports/queue.ts'
import type { FakeClock } from './clock.ts'

export interface Held {
  id: number
  body: string
  sentAtMs: number
  /** delayed, or hidden from other takers, until then */
  visibleAtMs: number
  receives: number
}

/** SQS refuses more than 900 s and rounds to seconds; a message that is taken and never deleted comes again. */
const longestDelayMs = 900_000
const mostReceives = 5

/** `untilSent`: shown only after the message of that number */
type Harm = 'lose' | 'double' | { untilSent: number }

export type FakeQueue = ReturnType<typeof fakeQueue>

export function fakeQueue(clock: FakeClock) {
  let messages: Held[] = []
  let nextId = 1
  const dead: Held[] = []
  /** everything that was ever sent */
  const sent: { atMs: number; dueMs: number; message: Message }[] = []
  /** asked for each message as it comes in: does the queue lose it, keep it twice, or show it only later? */
  let harm: (message: Message, nth: number) => Harm | null = () => null
  const heldBack: { body: string; untilSent: number }[] = []

  const isDue = (m: Held) => m.visibleAtMs <= clock.nowMs()
  const add = (body: string, visibleAtMs: number) =>
    void messages.push({ id: nextId++, body, sentAtMs: clock.nowMs(), visibleAtMs, receives: 0 })

  const port: Queue = {
    async send(message, delayMs = 0) {
      const waitMs = Math.min(longestDelayMs, Math.ceil(Math.max(0, delayMs) / 1000) * 1000)
      const visibleAtMs = clock.nowMs() + waitMs
      // what goes on the wire is what comes off it, for everybody
      const body = JSON.stringify(messageSchema.parse(message))
      sent.push({ atMs: clock.nowMs(), dueMs: visibleAtMs, message: JSON.parse(body) as Message })
      const does = harm(message, sent.length - 1)
      const isOvertaken = (h: { untilSent: number }) => h.untilSent < sent.length
      for (const { body: late } of heldBack.filter(isOvertaken)) add(late, clock.nowMs())
      heldBack.splice(0, heldBack.length, ...heldBack.filter((h) => !isOvertaken(h)))
      if (does === 'lose') return
      if (typeof does === 'object' && does !== null) {
        heldBack.push({ body, untilSent: does.untilSent })
        return
      }
      add(body, visibleAtMs)
      if (does === 'double') add(body, visibleAtMs)
    },
  }

  return {
    port,
    sent,
    dead,
    all: (): readonly Held[] => messages,
    nextMs: () => messages.reduce<number | null>((t, m) => (t === null || m.visibleAtMs < t ? m.visibleAtMs : t), null),
    due: (): Held[] => messages.filter(isDue).sort((a, b) => a.visibleAtMs - b.visibleAtMs || a.id - b.id),

    /** Hides it for its step's visibility timeout; after five it is moved to the dead letters. */
    take(held: Held): Message | null {
      const message = messageSchema.parse(JSON.parse(held.body))
      if (held.receives >= mostReceives) {
        messages = messages.filter((m) => m !== held)
        dead.push(held)
        return null
      }
      held.receives += 1
      held.visibleAtMs = clock.nowMs() + visibilityMs(message.step)
      return message
    },
    acknowledge(held: Held): void {
      messages = messages.filter((m) => m !== held)
    },
    /** SQS may deliver any message again. */
    duplicate(held: Held): void {
      add(held.body, clock.nowMs())
    },
    lose(held: Held): void {
      messages = messages.filter((m) => m !== held)
    },
    /** What `harm` held back and nothing ever overtook. */
    showHeldBack(): void {
      for (const { body } of heldBack.splice(0)) add(body, clock.nowMs())
    },
    harms(how: typeof harm): void {
      harm = how
    },
  }
}
