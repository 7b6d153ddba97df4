import { mostReceives, visibilityMs } from '../../shared/drive.ts'
import { groupOf, takingTurns } from '../../shared/fair.ts'
import { message as messageSchema, type Message } from '../../shared/run.ts'
import type { Queue } from '../../shared/ports/queue.ts'
import type { FakeClock } from './clock.ts'

export interface Held {
  id: number
  body: string
  /** delayed, or hidden from other takers, until then */
  visibleAtMs: number
  receives: number
  sent: Sent
}

export interface Sent {
  atMs: number
  dueMs: number
  /** acknowledged, or given up; null while it is to come again, unless the queue loses it */
  goneAtMs: number | null
  message: Message
}

/** SQS refuses more than 900 s and rounds to seconds; a message that is taken and never deleted comes again. */
const longestDelayMs = 900_000

/** `untilSent`: shown only after the message of that number */
type Harm = 'lose' | 'double' | { untilSent: number }

export type FakeQueue = ReturnType<typeof fakeQueue>

export function fakeQueue(clock: FakeClock) {
  let messages: Held[] = []
  let nextId = 1
  const dead: Held[] = []
  const turnsOf = new Map<Message['step'], ReturnType<typeof takingTurns<Held>>>()
  /** everything that was ever sent */
  const sent: Sent[] = []
  /** asked for each message as it comes in: does the queue lose it, keep it twice, or show it only later? */
  let harm: (message: Message, nth: number) => Harm | null = () => null
  const heldBack: { sent: Sent; untilSent: number }[] = []

  const isDue = (m: Held) => m.visibleAtMs <= clock.nowMs()
  const add = (of: Sent, visibleAtMs: number) =>
    void messages.push({ id: nextId++, body: JSON.stringify(of.message), visibleAtMs, receives: 0, sent: of })
  const remove = (held: Held) => {
    messages = messages.filter((m) => m !== held)
    held.sent.goneAtMs = clock.nowMs()
  }

  const port: Queue = {
    async send(message, delayMs = 0) {
      const waitMs = Math.min(longestDelayMs, Math.ceil(Math.max(0, delayMs) / 1000) * 1000)
      const visibleAtMs = clock.nowMs() + waitMs
      // what goes on the wire is what comes off it, for everybody
      const parsed = messageSchema.parse(JSON.parse(JSON.stringify(message)))
      const entry: Sent = { atMs: clock.nowMs(), dueMs: visibleAtMs, goneAtMs: null, message: parsed }
      sent.push(entry)
      const does = harm(message, sent.length - 1)
      const isOvertaken = (h: { untilSent: number }) => h.untilSent < sent.length
      for (const { sent: late } of heldBack.filter(isOvertaken)) add(late, clock.nowMs())
      heldBack.splice(0, heldBack.length, ...heldBack.filter((h) => !isOvertaken(h)))
      if (does === 'lose') {
        return
      }
      if (typeof does === 'object' && does !== null) {
        heldBack.push({ sent: entry, untilSent: does.untilSent })
        return
      }
      add(entry, visibleAtMs)
      if (does === 'double') add(entry, visibleAtMs)
    },
  }

  return {
    port,
    sent,
    dead,
    all: (): readonly Held[] => messages,
    nextMs: () => messages.reduce<number | null>((t, m) => (t === null || m.visibleAtMs < t ? m.visibleAtMs : t), null),
    due: (): Held[] => messages.filter(isDue).sort((a, b) => a.visibleAtMs - b.visibleAtMs || a.id - b.id),

    /** What a function of this step would be given next, the projects taking turns. */
    nextOf(step: Message['step'], count: number): Held[] {
      const own = messages.filter((m) => m.sent.message.step === step)
      const isAtWork = (m: Held) => m.receives > 0 && !isDue(m)
      const turns = turnsOf.get(step) ?? takingTurns((m: Held) => groupOf(m.sent.message))
      turnsOf.set(step, turns)
      const atWork = own.filter(isAtWork).map((m) => groupOf(m.sent.message))
      return turns.next(own.filter(isDue), atWork, count)
    },

    /** Hides it for its step's visibility timeout; after five it is moved to the dead letters. */
    take(held: Held): Message | null {
      const message = messageSchema.parse(JSON.parse(held.body))
      if (held.receives >= mostReceives) {
        remove(held)
        dead.push(held)
        return null
      }
      held.receives += 1
      held.visibleAtMs = clock.nowMs() + visibilityMs(message.step)
      return message
    },
    acknowledge: remove,
    /** SQS may deliver any message again. */
    duplicate(held: Held): void {
      add(held.sent, clock.nowMs())
    },
    lose(held: Held): void {
      messages = messages.filter((m) => m !== held)
    },
    /** What `harm` held back and nothing ever overtook. */
    showHeldBack(): void {
      for (const { sent: late } of heldBack.splice(0)) add(late, clock.nowMs())
    },
    harms(how: typeof harm): void {
      harm = how
    },
  }
}
