import { describe, expect, it } from 'vitest'
import { carrier } from '../../infra/bridge/carry.ts'
import { Failure } from '../../shared/failures.ts'
import { messageVersion, type Message } from '../../shared/run.ts'
import { fakeClock } from '../fakes/clock.ts'

const instance = '6acbce25-15f1-4692-b9f3-7c485fff3912'
const update = (tags: string[]) => ({
  event_type: 'instance.update',
  message_id: 'm-1',
  timestamp: '2026-11-23 10:00:00.000000',
  _context_auth_token: 'gAAAAAsecret',
  payload: { 'nova_object.data': { uuid: instance, tenant_id: 'p', tags } },
})
/** As oslo.messaging puts it on the wire. */
const wire = (body: unknown) =>
  new TextEncoder().encode(JSON.stringify({ 'oslo.version': '2.0', 'oslo.message': JSON.stringify(body) }))

/** A queue that is away until it is told otherwise. */
function scene({ isAway = false } = {}) {
  const clock = fakeClock()
  const taken: Message[] = []
  const said: string[] = []
  const pauses: number[] = []
  const queue = { isAway }
  const { carry, carried } = carrier({
    clock,
    queue: {
      async send(message) {
        if (queue.isAway) throw new Failure('QUEUE_UNREACHABLE', 'ECONNREFUSED')
        taken.push(message)
        return Promise.resolve()
      },
    },
    pause(ms, lost) {
      pauses.push(ms)
      return new Promise((resolve, reject) => {
        const fail = () => reject(lost.reason as Error)
        lost.addEventListener('abort', fail)
        clock.in(ms, resolve)
      })
    },
    say: (line) => void said.push(String(line['says'])),
  })
  const settle = () => new Promise((resolve) => setImmediate(resolve))
  return { clock, taken, said, pauses, queue, carry, carried, settle }
}
const never = new AbortController().signal

describe('the bridge', () => {
  it('ends a delivery when the first queue has taken what concerns us of it, and nothing secret', async () => {
    const { carry, taken, carried } = scene()
    await carry(wire(update(['snapshot:x'])), never)
    expect(taken).toMatchObject([
      { v: messageVersion, step: 'ingest', tries: 0, heard: { is: 'notification', instance, tags: ['snapshot:x'] } },
    ])
    expect(JSON.stringify(taken)).not.toContain('secret')
    expect(carried()).toMatchObject({ taken: 1, unreadable: 0, held: 0 })
  })

  it('holds a delivery while the queue is away, tries again ever more slowly, and says so once', async () => {
    const { carry, carried, taken, pauses, said, queue, clock, settle } = scene({ isAway: true })
    const carrying = carry(wire(update([])), never)
    for (let i = 0; i < 9; i++) {
      await settle()
      clock.advanceTo(clock.nextMs() ?? 0)
    }
    await settle()
    expect(pauses).toEqual([500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000, 30_000, 30_000])
    expect(carried()).toMatchObject({ taken: 0, held: 1, oldestHeldMs: 121_500 })
    queue.isAway = false
    clock.advanceTo(clock.nextMs() ?? 0)
    await carrying
    expect(taken).toHaveLength(1)
    expect(carried()).toMatchObject({ taken: 1, held: 0, oldestHeldMs: 0 })
    expect(said).toEqual(['the queue does not take notifications; they wait', 'the queue takes notifications again'])
  })

  it('gives a delivery up when the bus no longer waits for it', async () => {
    const { carry, carried, taken, queue, settle } = scene({ isAway: true })
    const lost = new AbortController()
    const carrying = carry(wire(update([])), lost.signal)
    await settle()
    lost.abort(new Error('the channel is closed'))
    await expect(carrying).rejects.toThrow('the channel is closed')
    queue.isAway = false
    await settle()
    expect(taken).toEqual([])
    expect(carried()).toMatchObject({ taken: 0, held: 0 })
  })

  it.each([
    ['not JSON', new TextEncoder().encode('{"oops')],
    ['larger than a notification may be', new Uint8Array(2 * 1024 * 1024)],
    ['not a notification', wire({ hello: 'world' })],
    ['empty', new Uint8Array()],
    ['more than a queue takes', wire(update(Array.from({ length: 1_000 }, () => 'x'.repeat(1_000))))],
  ])('carries a poison message that is %s on to be parked, and ends it', async (_what, body) => {
    const { carry, taken, carried } = scene()
    await carry(body, never)
    expect(taken).toMatchObject([{ step: 'ingest', heard: { is: 'unreadable' } }])
    expect(JSON.stringify(taken).length).toBeLessThan(256 * 1024)
    expect(carried()).toMatchObject({ taken: 1, unreadable: 1 })
  })
})
