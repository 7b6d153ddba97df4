import { Failure } from './failures.ts'
import type { Context } from './step.ts'

/** What was seen may be otherwise by now: nothing is removed because of it when that is longer ago. */
const trueForMs = 5_000

/** Begun before the first look; asked directly before the removal. */
export function hurry({ clock }: Context): () => void {
  const endMs = clock.nowMs() + trueForMs
  return () => {
    if (clock.nowMs() > endMs) throw new Failure('TIMEOUT', 'It took too long to ask whether the image may be removed.')
  }
}
