import { setTimeout as sleep } from 'node:timers/promises'
import { Failure } from '../failures.ts'

/** The caller's patience ran out: not a fault of the backend. */
export function outOfTime(what: string, cause?: unknown): Failure {
  return new Failure('TIMEOUT', `${what}: the step's time was up before an answer came`, { cause })
}

export async function pause(ms: number, signal: AbortSignal, what: string): Promise<void> {
  try {
    await sleep(ms, undefined, { signal })
  } catch (error) {
    throw outOfTime(what, error)
  }
}

/** Waits for work that goes on also when this caller no longer waits for it. */
export async function orAbort<T>(work: Promise<T>, signal: AbortSignal, what: string): Promise<T> {
  if (signal.aborted) throw outOfTime(what)
  let giveUp: () => void = () => undefined
  const aborted = new Promise<never>((_, reject) => {
    giveUp = () => reject(outOfTime(what))
    signal.addEventListener('abort', giveUp, { once: true })
  })
  try {
    return await Promise.race([work, aborted])
  } finally {
    signal.removeEventListener('abort', giveUp)
  }
}

/** Lets `limit` pieces of work run at once; the others wait in order. */
export function atMost(limit: number) {
  let running = 0
  const waiting: (() => void)[] = []
  return async function run<T>(work: () => Promise<T>, signal: AbortSignal, what: string): Promise<T> {
    if (running < limit) running += 1
    else await turn(waiting, signal, what)
    try {
      return await work()
    } finally {
      const next = waiting.shift()
      if (next) next()
      else running -= 1
    }
  }
}

/** The place in the queue is given up when the caller does. */
async function turn(waiting: (() => void)[], signal: AbortSignal, what: string): Promise<void> {
  let mine: () => void = () => undefined
  const called = new Promise<void>((resolve) => {
    mine = resolve
  })
  waiting.push(mine)
  try {
    await orAbort(called, signal, what)
  } catch (error) {
    const place = waiting.indexOf(mine)
    if (place >= 0) waiting.splice(place, 1)
    // called in the same instant: the turn is the next one's
    else waiting.shift()?.()
    throw error
  }
}
