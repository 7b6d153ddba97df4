import { describe, expect, it } from 'vitest'
import { sweep } from '../../functions/sweep.ts'
import { tagRun } from '../../shared/names.ts'
import type { Server } from '../../shared/ports/compute.ts'
import type { Lease, RunRecord } from '../../shared/ports/journal.ts'
import type { Message } from '../../shared/run.ts'
import { fakeClock } from '../fakes/clock.ts'
import { record } from './given-record.ts'
import { context, instance, leasesOf, nowMs, portsOf, project, server } from './given.ts'

function freezeOf(askedMsAgo: number): Lease {
  const freeze = { askedAtMs: nowMs - askedMsAgo, isConfirmed: true, host: 'one' }
  return { key: `instance/${instance}`, version: 1, holder: 'a run', epoch: 7, untilMs: nowMs, freeze, thawed: null }
}

function inSituation(given: {
  overdue?: RunRecord[]
  isKnown?: boolean
  tagged?: Server[]
  leases?: Lease[]
  isLost?: boolean
}) {
  const sent: Message[] = []
  const saved: RunRecord[] = []
  const { ports, calls } = portsOf({
    compute: { tagged: async () => given.tagged ?? [] },
    journal: {
      overdue: async () => given.overdue ?? [],
      unsettled: async () => [],
      tagEpoch: async () => 3,
      find: async (_instance, run) => (given.isKnown && run === tagRun(instance, 'snapshot', 3) ? record() : null),
      save: async (r) => {
        saved.push(r)
        return given.isLost ? null : r
      },
    },
    queue: { send: async (message) => void sent.push(message) },
    leases: leasesOf(...(given.leases ?? [])),
  })
  return { act: () => sweep(ports, context()), sent, saved, calls }
}

describe('the broom, over freezes', () => {
  it('sends a thaw for one that is past its budget', async () => {
    const { act, sent } = inSituation({ leases: [freezeOf(5_001)] })
    expect(await act()).toMatchObject({ thawed: 1 })
    expect(sent).toEqual([{ v: 1, step: 'thaw', instance, epoch: 7 }])
  })

  it('does not join a thaw that keeps coming back to a guest that does not answer, until that is lost', async () => {
    const kept = { ...freezeOf(120_000), untilMs: nowMs }
    expect(await inSituation({ leases: [kept] }).act()).toMatchObject({ thawed: 0 })
    expect(await inSituation({ leases: [{ ...kept, untilMs: nowMs - 1 }] }).act()).toMatchObject({ thawed: 1 })
  })

  it('leaves one alone that is within it', async () => {
    const { act, sent } = inSituation({ leases: [freezeOf(5_000)] })
    expect(await act()).toMatchObject({ thawed: 0 })
    expect(sent).toEqual([])
  })
})

describe('the broom, over runs', () => {
  it('sends the message again that is due and that no queue seems to have', async () => {
    const lost = record()
    const { act, sent, saved, calls } = inSituation({ overdue: [lost] })
    expect(await act()).toMatchObject({ sentAgain: 1 })
    expect(sent).toEqual([lost.message])
    expect(saved).toEqual([{ ...lost, dueAtMs: nowMs }])
    expect(calls).toContain(`journal.overdue ${nowMs - 30_000} 2000`)
  })

  it('doubles the pause between the copies of a message that only waits in a backlog, up to a quarter of an hour', async () => {
    const clock = fakeClock(nowMs)
    let waiting = record({ updatedAtMs: nowMs, dueAtMs: nowMs })
    const copiesAtMs: number[] = []
    const { ports } = portsOf({
      compute: { tagged: async () => [] },
      journal: {
        overdue: async (beforeMs) => (waiting.dueAtMs < beforeMs ? [waiting] : []),
        unsettled: async () => [],
        save: async (r) => (waiting = r),
      },
      queue: { send: async () => void copiesAtMs.push(clock.nowMs() - nowMs) },
      leases: leasesOf(),
    })
    for (let ms = 0; ms <= 4_000_000; ms += 10_000) {
      clock.advanceTo(nowMs + ms)
      await sweep(ports, context({}, clock))
    }
    expect(copiesAtMs.map((ms) => ms / 1_000)).toEqual([40, 80, 160, 320, 640, 1_280, 2_180, 3_080, 3_980])
  })

  it('sees past those whose copy is not due yet', async () => {
    const paused = record({ updatedAtMs: nowMs - 600_000, dueAtMs: nowMs - 60_000 })
    const lost = record()
    const { act, sent } = inSituation({ overdue: [...Array.from({ length: 300 }, () => paused), lost] })
    expect(await act()).toMatchObject({ sentAgain: 1 })
    expect(sent).toHaveLength(1)
  })

  it('sends no more than 200 at once', async () => {
    const { act } = inSituation({ overdue: Array.from({ length: 300 }, () => record()) })
    expect(await act()).toMatchObject({ sentAgain: 200 })
  })

  it('leaves a run alone that somebody works on, until his claim is over', async () => {
    const claimed = (untilMs: number) => record({ claim: { token: 't', hop: 4, untilMs } })
    expect((await inSituation({ overdue: [claimed(nowMs + 1)] }).act()).sentAgain).toBe(0)
    expect((await inSituation({ overdue: [claimed(nowMs)] }).act()).sentAgain).toBe(1)
  })

  it('sends nothing for a run that moved on while it looked', async () => {
    const { act, sent } = inSituation({ overdue: [record()], isLost: true })
    expect(await act()).toMatchObject({ sentAgain: 0 })
    expect(sent).toEqual([])
  })

  const heard = { is: 'tagged' as const, instance, project, tag: 'snapshot' }
  const reserved = (ageMs: number) =>
    record({ hop: 0, message: { v: 1, step: 'ingest', tries: 5, heard }, updatedAtMs: nowMs - ageMs })

  it('lets the door try again what it had only reserved, from the first try', async () => {
    const { act, sent } = inSituation({ overdue: [reserved(60_000)] })
    expect(await act()).toMatchObject({ sentAgain: 1 })
    expect(sent).toEqual([{ v: 1, step: 'ingest', tries: 0, heard }])
  })

  it('lets the door go on with it as long as that tries by itself, which is three hours', async () => {
    const { act, saved } = inSituation({ overdue: [{ ...reserved(3.2 * 3_600_000), dueAtMs: nowMs - 1_000_000 }] })
    expect(await act()).toMatchObject({ sentAgain: 1 })
    expect(saved).toEqual([expect.objectContaining({ outcome: null })])
  })

  it('parks what could not be begun for four hours', async () => {
    const { act, sent, saved } = inSituation({ overdue: [reserved(4 * 3_600_000 + 1)] })
    expect(await act()).toMatchObject({ sentAgain: 0 })
    expect(saved).toEqual([expect.objectContaining({ outcome: 'parked', code: 'OVERDUE', endedAtMs: nowMs })])
    expect(sent).toEqual([])
  })
})

describe('the broom, over tags', () => {
  const asked = server({ tags: ['snapshot'] })

  it('asks for the snapshot whose notification was lost', async () => {
    const { act, sent, calls } = inSituation({ tagged: [asked] })
    expect(await act()).toEqual({ thawed: 0, sentAgain: 0, found: 1, settled: 0 })
    expect(calls).toContain('nova.tagged snapshot')
    expect(sent).toEqual([
      { v: 1, step: 'ingest', tries: 0, heard: { is: 'tagged', instance, project, tag: 'snapshot' } },
    ])
  })

  it('leaves a server alone whose snapshot is in the making, or parked', async () => {
    const { act, sent } = inSituation({ tagged: [asked], isKnown: true })
    expect(await act()).toMatchObject({ found: 0 })
    expect(sent).toEqual([])
  })
})
