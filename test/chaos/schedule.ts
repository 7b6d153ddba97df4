import { chance, pick } from '../support/chance.ts'

/** What can be killed. `feeder 2` feeds the functions that run in processes of their own, `feeder` those in serverless-offline. */
export const victims = ['function', 'functions', 'feeder', 'feeder 2', 'queue', 'cloud'] as const
export type Victim = (typeof victims)[number]

/**
 * One blow. Its moment is told from the journal: when so much time has gone by since the blow before, it waits for the journal
 * to be written so many times more, and strikes at that write; or, while nothing is written, at the latest time.
 */
export interface Blow {
  victims: Victim[]
  /** of the functions at work, this one: a number from 0 to 1 */
  which: number
  leastMs: number
  writes: number
  mostMs: number
  /** before it: one process stands still for so long (SIGSTOP) */
  pause: { victim: Victim; which: number; forMs: number } | null
  /** before it: the journal's disk is full for so long */
  fullMs: number | null
}

/** How often each, in a hundred. A part that takes seconds to come back is killed more seldom, or nothing would ever be done. */
const weights: Record<Victim, number> = { function: 77, functions: 2, feeder: 4, 'feeder 2': 7, queue: 5, cloud: 5 }
const lottery = victims.flatMap((victim) => Array<Victim>(weights[victim]).fill(victim))

/** In a burst some of these go at the same moment. */
const bursts: Victim[][] = [
  ['function', 'function'],
  ['function', 'function', 'function', 'function'],
  ['function', 'feeder 2'],
  ['function', 'queue'],
  ['function', 'cloud'],
  ['feeder', 'feeder 2'],
  ['queue', 'cloud'],
  [...victims],
]

/** Blow number `n` of a seed is always the same one. */
export function blowOf(seed: number, n: number, perSecond: number): Blow {
  const draw = (what: number) => chance(seed, n, what)
  const meanMs = 1000 / perSecond
  const isBurst = draw(1) < 0.08
  const isPause = draw(2) < 0.04
  return {
    victims: (isBurst ? pick(bursts, seed, n, 3) : [pick(lottery, seed, n, 3) ?? 'function']) ?? [],
    which: draw(4),
    leastMs: Math.round(draw(5) * 1.2 * meanMs),
    writes: 1 + Math.floor(draw(6) * 10),
    mostMs: 8_000,
    pause: isPause ? pauseOf(seed, n) : null,
    fullMs: draw(7) < 0.004 ? Math.round(1_000 + draw(8) * 4_000) : null,
  }
}

/** A function may sleep beyond its claim, its place in the queue and its own time; what all depend on, only for a moment. */
function pauseOf(seed: number, n: number): Blow['pause'] {
  const victim = pick(lottery, seed, n, 9) ?? 'function'
  const longestMs = victim === 'function' ? 20_000 : victim === 'functions' ? 12_000 : 2_500
  return { victim, which: chance(seed, n, 10), forMs: Math.round(300 + chance(seed, n, 11) * longestMs) }
}
