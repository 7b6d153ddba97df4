import type { Message } from '../run.ts'

/** One queue per step. At least once, in any order. */
export interface Queue {
  /** `delayMs` is rounded up to seconds; at most 900 s (SQS). */
  send(message: Message, delayMs?: number): Promise<void>
}
