import { describe, expect, it } from 'vitest'
import { fairly, groupOf, type Turns } from '../../shared/fair.ts'
import type { Message } from '../../shared/run.ts'

const idle: Turns = { atWork: [], served: [] }
const first = (letter: string | undefined) =>
  (letter === undefined || letter.startsWith('-') ? null : letter[0]) ?? null
const next = (waiting: string[], turns: Turns, count: number) => fairly(waiting, first, turns, count)

describe('who is next', () => {
  it('one project alone is served in order, as many as may be', () => {
    expect(next(['a1', 'a2', 'a3'], idle, 2)).toEqual(['a1', 'a2'])
    expect(next(['a1', 'a2', 'a3'], idle, 10)).toEqual(['a1', 'a2', 'a3'])
    expect(next([], idle, 10)).toEqual([])
  })

  it('a project with one message is not behind the many of another', () => {
    expect(next(['a1', 'a2', 'a3', 'a4', 'b1'], idle, 2)).toEqual(['a1', 'b1'])
  })

  it('who has the fewest at work is next, however old the messages of the others are', () => {
    expect(next(['a1', 'a2', 'b1', 'c1'], { atWork: ['a', 'a', 'b'], served: [] }, 3)).toEqual(['c1', 'b1', 'a1'])
  })

  it('with nothing at work, as where one is served at a time, the projects take turns', () => {
    expect(next(['a2', 'a3', 'b1'], { atWork: [], served: ['a'] }, 1)).toEqual(['b1'])
    expect(next(['a2', 'a3', 'b2'], { atWork: [], served: ['a', 'b'] }, 1)).toEqual(['a2'])
  })

  it('what is no project’s waits behind nobody', () => {
    expect(next(['a1', 'a2', '-thaw', '-sweep'], { atWork: ['a', null], served: ['a'] }, 3)).toEqual([
      '-thaw',
      '-sweep',
      'a1',
    ])
  })
})

describe('whose turn a message takes', () => {
  const instance = '2ea85081-e9bb-4d02-8bc0-a7302c847e8c'
  const tagged = (project: string): Message => ({
    v: 1,
    step: 'ingest',
    tries: 0,
    heard: { is: 'tagged', instance, project, tag: 'snapshot' },
  })

  it('its project’s; a thaw and what cannot be read take nobody’s', () => {
    expect(groupOf(tagged('13fcaa0fddb64917b16214698f0e086f'))).toBe('13fcaa0fddb64917b16214698f0e086f')
    expect(groupOf({ v: 1, step: 'thaw', instance, epoch: 1 })).toBeNull()
    expect(groupOf({ v: 1, step: 'ingest', tries: 0, heard: { is: 'unreadable', text: 'x', why: 'y' } })).toBeNull()
  })

  it('a project that SQS would not take as a group is none: its message can be sent all the same', () => {
    expect(groupOf(tagged('a project'))).toBeNull()
    expect(groupOf(tagged('ü'))).toBeNull()
    expect(groupOf(tagged('p'.repeat(129)))).toBeNull()
    expect(groupOf(tagged(''))).toBeNull()
  })
})
