import { expect } from 'vitest'
import { Failure, type FailureCode } from '../../shared/failures.ts'

/** The code that a call ends with; `ok` when it succeeds. Anything that is not a Failure is a bug and comes through. */
export async function codeOf(work: Promise<unknown>): Promise<FailureCode | 'ok'> {
  try {
    await work
    return 'ok'
  } catch (error) {
    if (error instanceof Failure) return error.code
    throw error
  }
}

export async function expectFailure(work: Promise<unknown>, code: FailureCode, words?: RegExp): Promise<void> {
  const failure = await work.then(
    (value) => `it succeeded with ${JSON.stringify(value)}`,
    (error: unknown) => error,
  )
  expect(failure).toBeInstanceOf(Failure)
  expect((failure as Failure).code, (failure as Failure).words).toBe(code)
  if (words) expect((failure as Failure).words).toMatch(words)
}

/** Long enough for any call that is not meant to hang. */
export const patient = () => AbortSignal.timeout(60_000)

/** The flatten of a GiB with another suite beside it, on two cores. */
const longMs = 240_000

/** Asks again, as the driver does after a failure that may pass or a wait. */
export async function untilDone<T>(ask: () => Promise<T>, isDone: (value: T) => boolean, everyMs = 50): Promise<T> {
  for (const endMs = Date.now() + longMs; ;) {
    const value = await ask().catch((error: unknown) => {
      if (error instanceof Failure && error.kind === 'retry' && Date.now() < endMs) return null
      throw error
    })
    if (value !== null && isDone(value)) return value
    if (Date.now() > endMs) throw new Error(`not done in ${longMs / 1000} s: ${JSON.stringify(value)}`)
    await new Promise((resolve) => setTimeout(resolve, everyMs))
  }
}

/** The last word, whatever may pass before it: a real `rbd` ended once with CEPH_UNREACHABLE where it says ENOSYS otherwise. */
export const inTheEnd = <T>(ask: () => Promise<T>): Promise<T> => untilDone(ask, () => true)
