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
  if (signal.aborted) {
    // nobody will hear of it any more
    work.catch(() => undefined)
    throw outOfTime(what)
  }
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

/** Lets `limit` pieces of work run at once; the others wait in order, and give up their place when their caller does. */
export function atMost(limit: number) {
  let running = 0
  const waiting: (() => void)[] = []

  function release(): void {
    const next = waiting.shift()
    if (next) next()
    else running -= 1
  }

  async function turn(signal: AbortSignal, what: string): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<undefined>()
    const mine = () => resolve(undefined)
    waiting.push(mine)
    try {
      await orAbort(promise, signal, what)
    } catch (error) {
      const place = waiting.indexOf(mine)
      if (place >= 0) waiting.splice(place, 1)
      // called in the same instant
      else release()
      throw error
    }
  }

  return async function run<T>(work: () => Promise<T>, signal: AbortSignal, what: string): Promise<T> {
    if (running < limit) running += 1
    else await turn(signal, what)
    try {
      return await work()
    } finally {
      release()
    }
  }
}
