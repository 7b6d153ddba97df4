import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { Failure, failures, type FailureCode } from '../../shared/failures.ts'
import { decide, pipeline, type Decision, type UndoName } from '../../shared/pipeline.ts'
import type { RunStep } from '../../shared/run.ts'

const steps = Object.keys(pipeline) as RunStep[]
const codes = Object.keys(failures) as FailureCode[]
const failed = (code: FailureCode, retryInMs?: number) =>
  ({ is: 'failed', failure: new Failure(code, 'x', retryInMs === undefined ? {} : { retryInMs }) }) as const
const done = { is: 'done' } as const
const waiting = { is: 'waiting', inMs: 2_000 } as const
const soon = 1_000

describe('what comes after a step', () => {
  it.each<[RunStep, string, Parameters<typeof decide>[3], Decision]>([
    ['quiesce', 'is done', done, { do: 'go on' }],
    ['cleanup', 'is done', done, { do: 'go on' }],
    ['flatten', 'waits', waiting, { do: 'again', inMs: 2_000, countsAsTry: false }],
    ['clone', 'fails for now', failed('CEPH_UNREACHABLE'), { do: 'again', inMs: 1_000, countsAsTry: true }],
    ['quiesce', 'cannot be met', failed('NO_RBD_DISK'), { do: 'unwind' }],
    ['quiesce', 'would need a road, before there is a snapshot', failed('CLONE_REFUSED'), { do: 'unwind' }],
    ['snapshot', 'would need a road, before there is a snapshot', failed('OTHER_CLUSTER'), { do: 'unwind' }],
    ['clone', 'is on the wrong road', failed('CLONE_REFUSED'), { do: 'divert', to: 'fallback' }],
    ['register', 'is on the wrong road', failed('LOCATION_REFUSED'), { do: 'divert', to: 'fallback' }],
    ['fallback', 'is at the end of the ladder', failed('COPY_REFUSED'), { do: 'unwind' }],
    ['register', 'cannot be met', failed('QUOTA'), { do: 'unwind' }],
    ['clone', 'needs a person', failed('NAME_TAKEN'), { do: 'park' }],
    ['flatten', 'cannot be met any more: the image is active', failed('POOL_FULL'), { do: 'park' }],
    ['cleanup', 'cannot be met any more: the image is active', failed('IMAGE_GONE'), { do: 'park' }],
    ['unwind', 'cannot undo', failed('UNDO_FAILED'), { do: 'park' }],
    ['unwind', 'cannot undo for now', failed('CEPH_BUSY'), { do: 'again', inMs: 2_000, countsAsTry: true }],
  ])('%s %s', (at, _how, result, decision) => {
    expect(decide(at, 0, soon, result, 1)).toEqual(decision)
  })

  it.each(steps)('%s gives up at its last try and not before', (at) => {
    const { tries, givesUp } = pipeline[at]
    expect(decide(at, tries - 2, soon, failed('TIMEOUT'), 0).do).toBe('again')
    expect(decide(at, tries - 1, soon, failed('TIMEOUT'), 0)).toEqual({ do: givesUp })
  })

  it.each(steps)('%s gives up at the end of its leash, failing or waiting, and not before', (at) => {
    const { leashMs, givesUp } = pipeline[at]
    for (const result of [failed('TIMEOUT'), waiting]) {
      expect(decide(at, 0, leashMs, result, 0).do).toBe('again')
      expect(decide(at, 0, leashMs + 1, result, 0)).toEqual({ do: givesUp })
    }
    expect(decide(at, 0, leashMs + 1, done, 0)).toEqual({ do: 'go on' })
  })

  it('is a pause that doubles, half of it jitter', () => {
    const pauses = [0, 1, 2, 3].map((tries) =>
      [0, 1].map((jitter) => decide('clone', tries, soon, failed('TIMEOUT'), jitter)),
    )
    expect(pauses.map((both) => both.map((d) => (d.do === 'again' ? d.inMs : null)))).toEqual([
      [500, 1_000],
      [1_000, 2_000],
      [2_000, 4_000],
      [4_000, 8_000],
    ])
  })

  it("is the backend's own Retry-After when it sent one, whatever the jitter", () => {
    for (const jitter of [0, 0.5, 1]) {
      expect(decide('clone', 3, soon, failed('GLANCE_UNREACHABLE', 7_000), jitter)).toEqual({
        do: 'again',
        inMs: 7_000,
        countsAsTry: true,
      })
    }
  })

  it('is a pause of half a minute at most, and of the 15 minutes that a queue can hold when a service asks for more', () => {
    expect(decide('flatten', 38, soon, failed('TIMEOUT'), 1)).toMatchObject({ inMs: 30_000 })
    expect(decide('clone', 0, soon, failed('CEPH_UNREACHABLE', 86_400_000), 0)).toMatchObject({ inMs: 900_000 })
  })

  it('keeps within its bounds and to its kind for every step, failure, age and number of tries', () => {
    const anyStep = fc.constantFrom(...steps)
    fc.assert(
      fc.property(
        anyStep,
        fc.constantFrom(...codes),
        fc.nat(50),
        fc.nat(90_000_000),
        fc.double({ min: 0, max: 1, noNaN: true }),
        (at, code, tries, ageMs, jitter) => {
          const row = pipeline[at]
          const decision = decide(at, tries, ageMs, failed(code), jitter)
          if (decision.do === 'again') {
            const pauseMs = Math.min(row.everyMs * 2 ** tries, 30_000)
            expect(decision.inMs).toBeGreaterThanOrEqual(Math.floor(pauseMs / 2))
            expect(decision.inMs).toBeLessThanOrEqual(pauseMs)
          }
          const allowed = {
            retry: ['again', row.givesUp],
            divert: ['divert', row.givesUp],
            reject: [row.givesUp],
            park: ['park'],
          }
          expect(allowed[failures[code].kind]).toContain(decision.do)
        },
      ),
      { numRuns: 2_000 },
    )
  })
})

describe('the table', () => {
  it('leads every step to the end, and back only to undo', () => {
    const order: RunStep[] = ['quiesce', 'snapshot', 'clone', 'fallback', 'register', 'unwind', 'flatten', 'cleanup']
    for (const at of steps) {
      for (const next of pipeline[at].next) {
        if (next !== at) expect(order.indexOf(next), `${at} -> ${next}`).toBeGreaterThan(order.indexOf(at))
      }
    }
  })

  it('undoes nothing once the image is active', () => {
    for (const at of ['flatten', 'cleanup'] as const)
      expect(pipeline[at]).toMatchObject({ undo: null, divert: null, givesUp: 'park' })
  })

  it('has an undo for every step that makes something, and each only once', () => {
    const noted = steps.map((at): UndoName | null => pipeline[at].undo).filter((undo) => undo !== null)
    expect(noted.sort()).toEqual(['dropClone', 'dropCopy', 'dropRecord', 'dropSourceSnapshot', 'thaw'])
  })

  it('outlasts an outage of two hours where nobody waits any more: the image is active, or all is undone', () => {
    for (const at of steps.filter((step) => pipeline[step].givesUp === 'park')) {
      const pausesMs = Array.from({ length: pipeline[at].tries - 1 }, (_, tries) => {
        const decision = decide(at, tries, soon, failed('GLANCE_UNREACHABLE'), 0)
        return decision.do === 'again' ? decision.inMs : 0
      })
      expect(
        pausesMs.reduce((sum, ms) => sum + ms, 0),
        at,
      ).toBeGreaterThan(2 * 3_600_000)
    }
  })

  it('outlasts the half minute for which a dead manager is not missed, at every step that talks to it', () => {
    for (const at of steps) {
      const pauses = Array.from({ length: pipeline[at].tries - 1 }, (_, tries) =>
        decide(at, tries, soon, failed('CEPH_UNREACHABLE'), 0),
      )
      expect(
        pauses.reduce((sum, d) => sum + (d.do === 'again' ? d.inMs : 0), 0),
        at,
      ).toBeGreaterThan(60_000)
    }
  })
})
