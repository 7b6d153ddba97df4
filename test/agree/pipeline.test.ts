import { readdirSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { claimMs, visibilityMs } from '../../shared/drive.ts'
import { Failure } from '../../shared/failures.ts'
import { besides, decide, pipeline, type QueueStep, type UndoName } from '../../shared/pipeline.ts'
import type { RunStep } from '../../shared/run.ts'
import { undos } from '../../shared/undo.ts'

interface Row {
  next: readonly RunStep[]
  divert: RunStep | null
  undo: UndoName | null
  givesUp: 'unwind' | 'park'
  tries: number
  leashMs: number
  timeoutMs: number
}
const rows = Object.entries(pipeline) as [RunStep, Row][]
const rowOf = (step: RunStep): Row => pipeline[step]

/** Every way on from a step that the table allows. */
function waysOn(step: RunStep): RunStep[] {
  const { next, divert, givesUp } = rowOf(step)
  return [...next, ...(divert === null ? [] : [divert]), ...(givesUp === 'unwind' ? (['unwind'] as const) : [])]
}

function reachableFrom(start: RunStep, waysFrom: (step: RunStep) => readonly RunStep[]): Set<RunStep> {
  const reached = new Set<RunStep>([start])
  for (const step of reached) for (const next of waysFrom(step)) reached.add(next)
  return reached
}

/** A step ends a run when it has nowhere else to go, or is the one that takes everything back. */
const isEnd = (step: RunStep) => rowOf(step).next.every((to) => to === step) || step === 'unwind'

test('every step can be reached from the first', () => {
  expect([...reachableFrom('quiesce', waysOn)].sort()).toEqual(rows.map(([step]) => step).sort())
})

test.each(rows)('%s leads to an end', (step) => {
  expect([...reachableFrom(step, waysOn)].some(isEnd)).toBe(true)
})

test('the main road ends without diverting or giving up', () => {
  expect([...reachableFrom('quiesce', (step) => rowOf(step).next)]).toEqual([
    'quiesce',
    'snapshot',
    'clone',
    'register',
    'flatten',
    'cleanup',
  ])
})

test('after the point of no return nothing is undone, diverted or unwound', () => {
  for (const step of reachableFrom('flatten', waysOn)) {
    expect(rowOf(step), step).toMatchObject({ undo: null, divert: null, givesUp: 'park' })
  }
})

test('before it every step has an undo, and a final failure runs the undos', () => {
  const beforeIt = rows.filter(([step]) => !reachableFrom('flatten', waysOn).has(step) && step !== 'unwind')
  for (const [step, row] of beforeIt) {
    expect(row.undo, step).not.toBeNull()
    expect(row.givesUp, step).toBe('unwind')
  }
})

test('every undo is noted by exactly one step, the claim on an image by the door', () => {
  const noted = rows.map(([, row]) => row.undo).filter((undo) => undo !== null)
  expect([...noted, 'releaseClaim'].sort()).toEqual(Object.keys(undos).sort())
})

describe.each(rows)('%s', (step, { tries, leashMs, timeoutMs }) => {
  const failure = new Failure('CEPH_UNREACHABLE', 'every time')
  const decisions = Array.from({ length: tries }, (_, n) => decide(step, n, 0, { is: 'failed', failure }, 1))

  test('tries as often as the table says, then gives up', () => {
    expect(decisions.filter((d) => d.do === 'again')).toHaveLength(tries - 1)
    expect(decisions.at(-1)?.do).toBe(rowOf(step).givesUp)
  })

  test('has a leash longer than all its tries and the pauses between them', () => {
    const pausesMs = decisions.reduce((sum, d) => sum + (d.do === 'again' ? d.inMs : 0), 0)
    expect(leashMs).toBeGreaterThan(pausesMs + tries * timeoutMs)
  })

  test('is stopped before its message shows again, and that is before its leash ends', () => {
    expect(timeoutMs).toBeLessThan(visibilityMs(step))
    expect(visibilityMs(step)).toBeLessThan(leashMs)
  })
})

test('a claim is over before the queue shows the message again, and SQS can hide it for that long', () => {
  for (const step of [...Object.keys(pipeline), ...Object.keys(besides)] as QueueStep[]) {
    expect(claimMs).toBeLessThan(visibilityMs(step))
    expect(visibilityMs(step)).toBeLessThanOrEqual(12 * 3_600_000)
  }
})

test('there is one file in functions/ for every queue, and one for status', () => {
  const files = readdirSync('functions').map((file) => file.replace(/\.ts$/, ''))
  expect(files.sort()).toEqual([...Object.keys(pipeline), ...Object.keys(besides), 'status'].sort())
})
