import { describe, expect, it } from 'vitest'
import { drive, type DriveContext } from '../../shared/drive.ts'
import type { Step } from '../../shared/step.ts'
import { makeWorld } from '../fakes/world.ts'
import { context, due, nowMs, snapped, tagWish } from './given.ts'
import { record } from './given-record.ts'

/** The claim, when a function outlives it: what `renew` meets is somebody else's write. */
describe('a step whose claim somebody else has taken', () => {
  it('is told to stop by its signal, and notes and sends nothing', async () => {
    const { ports } = makeWorld()
    const message = due<'quiesce'>({ step: 'quiesce', wish: tagWish })
    const { record: stored } = await ports.journal.reserve(record({ hop: message.hop, message }))
    let renew: () => Promise<void> = () => Promise.resolve()
    const ctx: DriveContext = {
      ...context(),
      token: 'ours',
      jitter: 0,
      keepAlive: (given) => {
        renew = given
        return () => Promise.resolve()
      },
    }
    let wasStopped = false
    const step: Step<'quiesce'> = async (_run, _ports, { signal }) => {
      const held = await ports.journal.find(stored.wish.instance, stored.wish.run)
      if (held)
        await ports.journal.save({ ...held, claim: { token: 'theirs', hop: held.hop, untilMs: nowMs + 60_000 } })
      expect(signal.aborted).toBe(false)
      await renew()
      wasStopped = signal.aborted
      return { is: 'waiting', inMs: 1_000 }
    }
    expect(await drive(message, step, ports, ctx)).toEqual({ is: 'left', because: 'fenced' })
    expect(wasStopped).toBe(true)
    expect((await ports.journal.find(stored.wish.instance, stored.wish.run))?.claim?.token).toBe('theirs')
  })
})

it('a step that goes on to itself has moved on, and one that waits comes again later', async () => {
  const { ports } = makeWorld()
  const message = due<'cleanup'>({ step: 'cleanup', ...snapped, road: 'clone', usableMs: 900 })
  await ports.journal.reserve(record({ hop: message.hop, message }))
  const ctx = { ...context(), token: 'ours', jitter: 0, keepAlive: () => () => Promise.resolve() }
  const onwards: Step<'cleanup'> = async (run) => ({ is: 'done', next: { ...run, older: { done: [], next: null } } })
  expect(await drive(message, onwards, ports, ctx)).toEqual({ is: 'acknowledged', because: 'moved on' })
  const waiting: Step<'cleanup'> = async () => ({ is: 'waiting', inMs: 1_000 })
  const next = await drive({ ...message, hop: message.hop + 1 }, waiting, ports, ctx)
  expect(next).toEqual({ is: 'acknowledged', because: 'again later' })
})

/** An outage fails a step for hours; what kills its function each time is no outage. */
describe('a step whose function died each time', () => {
  it.each([
    ['quiesce', 12],
    ['cleanup', 40],
  ] as const)('%s, is not begun again after %i deaths', async (at, mostDeaths) => {
    for (const [lost, isBegun] of [
      [mostDeaths - 2, true],
      [mostDeaths - 1, false],
    ] as const) {
      const { ports } = makeWorld()
      const message = due({ step: at, ...snapped, wish: tagWish, road: 'clone', usableMs: 1 })
      const claim = { token: 'dead', hop: message.hop, untilMs: nowMs - 1 }
      await ports.journal.reserve(record({ hop: message.hop, message, claim, lost }))
      let began = false
      await drive(message, async () => ((began = true), { is: 'waiting', inMs: 1_000 }), ports, {
        ...context(),
        token: 'ours',
        jitter: 0,
        keepAlive: () => () => Promise.resolve(),
      })
      expect(began, `after ${String(lost + 1)}`).toBe(isBegun)
      const outcome = (await ports.journal.find(tagWish.instance, tagWish.run))?.outcome
      expect(outcome).toBe(isBegun ? null : 'parked')
    }
  })
})
