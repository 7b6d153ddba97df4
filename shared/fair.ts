import { message as messageSchema, type Message } from './run.ts'

/**
 * A project with one wish is not behind another project's thousand. SQS does that for standard queues by the group that a message
 * was sent with: of the groups that wait, the one with the fewest messages at work is next (SQS Developer Guide, "How Amazon SQS
 * fair queues work"). The same rule for the engines that have to do it themselves.
 */
export interface Turns {
  /** groups of what is at work, one entry each */
  atWork: Iterable<string | null>
  /** groups in the order of their last turn; who was served last is last */
  served: readonly string[]
}

/** Whose turn a message takes. Null: nobody's, as of a thaw, which waits behind no one. */
export function groupOf(message: Message): string | null {
  const project = 'wish' in message ? message.wish.project : 'heard' in message ? projectOf(message.heard) : null
  return project !== null && allowed.test(project) ? project : null
}

function projectOf(heard: Extract<Message, { step: 'ingest' }>['heard']): string | null {
  return heard.is === 'unreadable' ? null : heard.project
}

/** The same of a message as it lies in a queue; of what is none, nobody's. */
export function groupOfBody(body: string): string | null {
  try {
    const parsed = messageSchema.safeParse(JSON.parse(body))
    return parsed.success ? groupOf(parsed.data) : null
  } catch {
    return null
  }
}

/** What SQS takes as a group: anybody may write anything on a bus, and a message that cannot be sent holds up all behind it. */
const allowed = /^[!-~]{1,128}$/

/** The next `count` of those that wait, oldest first. Pure. */
export function fairly<T>(waiting: readonly T[], groupOf: (one: T) => string | null, turns: Turns, count: number): T[] {
  const atWork = new Map<string, number>()
  for (const group of turns.atWork) if (group !== null) atWork.set(group, (atWork.get(group) ?? 0) + 1)
  const lastTurn = new Map(turns.served.map((group, i) => [group, i]))
  const lanes = new Map<string | symbol, T[]>()
  for (const one of waiting) {
    // who has no group has one of his own
    const group = groupOf(one) ?? Symbol('alone')
    const lane = lanes.get(group)
    if (!lane) lanes.set(group, [one])
    else if (lane.length < count) lane.push(one)
  }
  const queues = [...lanes].map(([group, lane]) => ({
    lane,
    atWork: typeof group === 'string' ? (atWork.get(group) ?? 0) : 0,
    turn: typeof group === 'string' ? (lastTurn.get(group) ?? -1) : -1,
  }))
  const chosen: T[] = []
  for (let turn = turns.served.length; chosen.length < count; turn += 1) {
    const next = queues.reduce<(typeof queues)[number] | null>((best, q) => (isBefore(q, best) ? q : best), null)
    const one = next?.lane.shift()
    if (!next || one === undefined) break
    chosen.push(one)
    next.atWork += 1
    next.turn = turn
  }
  return chosen
}

type Lane = { lane: unknown[]; atWork: number; turn: number }

function isBefore(a: Lane, b: Lane | null): boolean {
  if (a.lane.length === 0) return false
  if (!b) return true
  return a.atWork === b.atWork ? a.turn < b.turn : a.atWork < b.atWork
}

/** Remembers whose turn was when, for one queue. */
export function takingTurns<T>(groupOf: (one: T) => string | null) {
  let served: string[] = []
  return {
    next(waiting: readonly T[], atWork: Iterable<string | null>, count: number): T[] {
      const chosen = fairly(waiting, groupOf, { atWork, served }, count)
      const now = new Set(chosen.map(groupOf).filter((group) => group !== null))
      const still = new Set(waiting.map(groupOf))
      served = [...served.filter((group) => still.has(group) && !now.has(group)), ...now]
      return chosen
    },
  }
}
