import { describe, expect, it, onTestFinished } from 'vitest'
import type { Message, MessageOf } from '../../shared/run.ts'
import type { Queue } from '../../shared/ports/queue.ts'

/** The sending side is the port; what comes off the queue of a step shows whether it was kept. */
export interface QueueWays {
  queue: Queue
  /** what a function of this step would be given now, up to ten; taken, not acknowledged */
  receive: (step: Message['step']) => Promise<{ message: Message; acknowledge: () => Promise<void> }[]>
  /** lets time pass, so far as the queue's own clock is concerned */
  pass: (ms: number) => Promise<void>
  /** how long a message that was taken is hidden */
  hiddenMs: number
  close: () => Promise<void>
}

const instance = '2ea85081-e9bb-4d02-8bc0-a7302c847e8c'
const wishOf = (project: string, tag: string): MessageOf<'ingest'> => ({
  v: 1,
  step: 'ingest',
  tries: 0,
  heard: { is: 'tagged', instance, project, tag },
})
const thaw = (epoch: number): MessageOf<'thaw'> => ({ v: 1, step: 'thaw', instance, epoch })

export function describeQueue(name: string, make: () => Promise<QueueWays>): void {
  async function ways(): Promise<QueueWays> {
    const made = await make()
    onTestFinished(made.close)
    return made
  }

  describe(name, () => {
    it('a message comes off the queue of its step as it went in', async () => {
      const { queue, receive } = await ways()
      await queue.send(thaw(7))
      expect(await receive('sweep')).toEqual([])
      expect((await receive('thaw')).map((r) => r.message)).toEqual([thaw(7)])
    })

    it('a delayed message does not come before its time, and comes then', async () => {
      const { queue, receive, pass } = await ways()
      await queue.send(thaw(7), 2_000)
      await pass(1_000)
      expect(await receive('thaw')).toEqual([])
      await pass(1_500)
      expect(await receive('thaw')).toHaveLength(1)
    })

    it('a part of a second is a whole one', async () => {
      const { queue, receive, pass } = await ways()
      await queue.send(thaw(7), 100)
      await pass(300)
      expect(await receive('thaw')).toEqual([])
      await pass(1_000)
      expect(await receive('thaw')).toHaveLength(1)
    })

    it('a delay that is longer than the queue can hold is taken', async () => {
      const { queue, receive } = await ways()
      await queue.send(thaw(7), 86_400_000)
      expect(await receive('thaw')).toEqual([])
    })

    it('a message that is taken is hidden, and comes again when it is not acknowledged', async () => {
      const { queue, receive, pass, hiddenMs } = await ways()
      await queue.send(thaw(7))
      expect(await receive('thaw')).toHaveLength(1)
      expect(await receive('thaw')).toEqual([])
      await pass(hiddenMs + 100)
      expect(await receive('thaw')).toHaveLength(1)
    })

    it('a project with one message is not behind the many of another', async () => {
      const { queue, receive } = await ways()
      for (let i = 0; i < 15; i += 1) await queue.send(wishOf('large', `snapshot:${i}`))
      await queue.send(wishOf('small', 'snapshot'))
      const first = (await receive('ingest')).map((r) => r.message)
      expect(first).toHaveLength(10)
      expect(first.slice(0, 2)).toContainEqual(wishOf('small', 'snapshot'))
    })

    it('a project whose messages are all at work waits behind one that has none there', async () => {
      const { queue, receive } = await ways()
      for (let i = 0; i < 15; i += 1) await queue.send(wishOf('large', `snapshot:${i}`))
      expect(await receive('ingest')).toHaveLength(10)
      await queue.send(wishOf('small', 'snapshot'))
      const next = (await receive('ingest')).map((r) => r.message)
      expect(next[0]).toEqual(wishOf('small', 'snapshot'))
      expect(next).toHaveLength(6)
    })

    it('a project whose name no queue takes as a group is carried all the same', async () => {
      const { queue, receive } = await ways()
      await queue.send(wishOf('not a group, ü', 'snapshot'))
      expect((await receive('ingest')).map((r) => r.message)).toEqual([wishOf('not a group, ü', 'snapshot')])
    })

    it('a message that was acknowledged does not come again', async () => {
      const { queue, receive, pass, hiddenMs } = await ways()
      await queue.send(thaw(7))
      for (const { acknowledge } of await receive('thaw')) await acknowledge()
      await pass(hiddenMs + 100)
      expect(await receive('thaw')).toEqual([])
    })
  })
}
