import { describe, expect, it } from 'vitest'
import type { RunRecord } from '../../shared/ports/journal.ts'
import { settleAfterMs, settleEnded } from '../../shared/settle.ts'
import { fakeClock } from '../fakes/clock.ts'
import { context, due, nowMs, portsOf, snapped, state, tagWish } from './given.ts'
import { record } from './given-record.ts'

/** So many runs that made their image and were never looked at since; each call of Ceph's takes that long. */
function after(runs: number, tookMs: number) {
  const clock = fakeClock(nowMs)
  const ended = Array.from({ length: runs }, (_, i): RunRecord => {
    const wish = { ...tagWish, run: `aaaaaaaa-0000-5000-8000-${String(i).padStart(12, '0')}` }
    const message = due<'cleanup'>({ step: 'cleanup', ...snapped, wish, road: 'clone', usableMs: 1 })
    const endedAtMs = nowMs - settleAfterMs - 1
    return record({ wish, message, outcome: 'active', undos: ['dropSourceSnapshot'], endedAtMs })
  })
  let now = 0
  let most = 0
  const call = async <T>(answer: T): Promise<T> => {
    now += 1
    most = Math.max(most, now)
    await Promise.resolve()
    clock.advanceTo(clock.nowMs() + tookMs)
    now -= 1
    return answer
  }
  const left = new Map(ended.map((r) => [r.wish.run, r]))
  const { ports } = portsOf({
    home: { find: () => call(state()), ensureSnapshotAbsent: () => call(undefined) },
    journal: {
      unsettled: async (_before, limit) => [...left.values()].slice(0, limit),
      async save(saved) {
        left.delete(saved.wish.run)
        return saved
      },
    },
  })
  return {
    act: () => settleEnded(ports, context({}, clock)),
    left,
    most: () => most,
    tookMs: () => clock.nowMs() - nowMs,
  }
}

describe('the last look at many runs', () => {
  it('asks Ceph for one thing at a time: the steps of runs fill its manager already', async () => {
    const { act, most } = after(20, 10)
    expect(await act()).toBe(20)
    expect(most()).toBe(1)
  })

  it('keeps up with what ends in a minute', async () => {
    const { act, left } = after(500, 10)
    expect(await act()).toBe(500)
    expect(left.size).toBe(0)
  })

  it('ends in time all the same, and leaves the rest to the next sweep', async () => {
    const { act, left, tookMs } = after(500, 1_000)
    const settled = await act()
    expect(settled).toBeGreaterThan(5)
    expect(left.size).toBe(500 - settled)
    expect(tookMs()).toBeLessThan(40_000)
  })
})
