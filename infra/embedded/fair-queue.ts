import { groupOfBody, takingTurns } from '../../shared/fair.ts'

/**
 * fauxqs 2.4 gives what came first, and drops the group of a message that is sent to a standard queue. SQS takes turns between
 * groups; so do its queues after this. What it keeps is untouched: before each receive the messages whose turn it is are
 * brought to the front of those that wait. The group is read from the body, by the function that the sender uses.
 */
interface Waiting {
  body: string
}

/** What of fauxqs' queue is used here; test/contract/embedded-queue.test.ts fails when a newer one is another. */
interface Queue {
  messages: Waiting[]
  inflightMessages: Map<string, { message: Waiting }>
  isFifo: () => boolean
  processTimers: () => void
  dequeue: (count: number, ...more: unknown[]) => unknown[]
}

/** fauxqs exports its server only, and asks no class of ours for its queues. */
const { SqsQueue } = (await import(new URL('sqs/sqsStore.js', import.meta.resolve('fauxqs')).href)) as {
  SqsQueue: { prototype: Queue }
}
const groups = new WeakMap<Waiting, string | null>()
const turns = new WeakMap<Queue, ReturnType<typeof takingTurns<Waiting>>>()
let isFair = false

/** Every queue of fauxqs in this process, from now on. */
export function makeQueuesFair(): void {
  if (isFair) return
  isFair = true
  const { dequeue } = SqsQueue.prototype
  SqsQueue.prototype.dequeue = function (count, ...more) {
    if (!this.isFifo()) {
      // what was delayed or hidden and is due waits as well
      this.processTimers()
      bringForward(this, count)
    }
    return dequeue.call(this, count, ...more)
  }
}

function bringForward(queue: Queue, count: number): void {
  const own = turns.get(queue) ?? takingTurns(groupOf)
  turns.set(queue, own)
  const atWork = [...queue.inflightMessages.values()].map(({ message }) => groupOf(message))
  const chosen = own.next(queue.messages, atWork, count)
  const isChosen = new Set(chosen)
  queue.messages = [...chosen, ...queue.messages.filter((message) => !isChosen.has(message))]
}

/** A message is read once, and its queue asked many times. */
function groupOf(waiting: Waiting): string | null {
  const known = groups.get(waiting)
  if (known !== undefined) return known
  const group = groupOfBody(waiting.body)
  groups.set(waiting, group)
  return group
}
