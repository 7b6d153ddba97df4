import { describe, expect, it } from 'vitest'
import { isRunMessage, message, type Consistency, type Draft, type Message, type RunStep } from '../../shared/run.ts'
import type { Step } from '../../shared/step.ts'
import { consistency, disk, due, instance, nowMs, project, snapped, tagWish } from './given.ts'

const because = { code: 'QUOTA', words: 'no space', at: 'register' } as const
const runs: { [S in RunStep]: Draft<S> } = {
  quiesce: { step: 'quiesce', wish: tagWish },
  snapshot: { step: 'snapshot', wish: tagWish, disk, policy: 'prefer', freeze: { is: 'none', why: '' } },
  clone: { step: 'clone', ...snapped },
  register: { step: 'register', ...snapped, road: 'clone' },
  flatten: { step: 'flatten', ...snapped, road: 'clone', usableMs: 1 },
  cleanup: { step: 'cleanup', ...snapped, road: 'upload', usableMs: 1 },
  fallback: { step: 'fallback', ...snapped, rung: 'copy' },
  unwind: {
    step: 'unwind',
    wish: tagWish,
    disk: null,
    consistency: null,
    why: [],
    undos: ['dropClone', 'thaw'],
    because,
  },
}
const steps = Object.keys(runs) as RunStep[]
const messageOf = (step: RunStep): Message => due<RunStep>(runs[step])
const besides: Message[] = [
  { v: 1, step: 'ingest', tries: 0, heard: { is: 'unreadable', text: 'x', why: 'not JSON' } },
  { v: 1, step: 'ingest', tries: 0, heard: { is: 'tagged', instance, project, tag: 'snapshot' } },
  { v: 1, step: 'thaw', instance, epoch: 1 },
  { v: 1, step: 'sweep' },
]
const isRead = (value: unknown) => message.safeParse(value).success

describe('a message', () => {
  it.each(steps)('for %s is read as it was written, after a journey through JSON', (step) => {
    const written = messageOf(step)
    expect(message.parse(JSON.parse(JSON.stringify(written)))).toEqual(written)
    expect(isRunMessage(written)).toBe(true)
  })

  it.each(besides)('for $step, besides any run, is read', (written) => {
    expect(message.parse(written)).toEqual(written)
    expect(isRunMessage(written)).toBe(false)
  })

  it.each(steps)('for %s is refused when any of its facts is missing', (step) => {
    const whole: Record<string, unknown> = { ...messageOf(step) }
    for (const fact of Object.keys(whole)) {
      const { [fact]: _missing, ...rest } = whole
      expect(isRead(rest), `without ${fact}`).toBe(false)
    }
  })

  it('of another version is refused, older or newer', () => {
    for (const v of [0, 2, '1', null]) expect(isRead({ ...messageOf('clone'), v })).toBe(false)
  })

  it.each<[string, unknown]>([
    ['for a step that there is not', { ...messageOf('quiesce'), step: 'format' }],
    [
      'with a wish for something that is no UUID',
      { ...messageOf('quiesce'), wish: { ...tagWish, image: '../images' } },
    ],
    ['with a disk of negative size', { ...messageOf('clone'), disk: { ...disk, sizeBytes: -1 } }],
    [
      'with a verdict that there is not',
      { ...messageOf('clone'), consistency: { ...consistency, verdict: 'perfect' } },
    ],
    ['with an undo that there is not', { ...messageOf('unwind'), undos: ['dropEverything'] }],
    ['with a failure that there is not', { ...messageOf('unwind'), because: { ...because, code: 'OOPS' } }],
    ['that is a list', []],
    ['that is nothing', null],
  ])('%s is refused', (_what, value) => {
    expect(isRead(value)).toBe(false)
  })

  it('loses what no step asked for', () => {
    expect(message.parse({ ...messageOf('quiesce'), _context_auth_token: 'x' })).toEqual(messageOf('quiesce'))
  })
})

describe('a step', () => {
  it('that forgets a fact which the next one needs does not compile', () => {
    // @ts-expect-error `register` needs to know the road
    const forgetful: Step<'clone'> = async () => ({ is: 'done', next: { step: 'register', ...snapped } })
    // @ts-expect-error `cleanup` needs usableMs
    const hasty: Step<'flatten'> = async () => ({ is: 'done', next: { step: 'cleanup', ...snapped, road: 'clone' } })
    expect([forgetful, hasty]).toHaveLength(2)
  })

  it('that goes where the table does not lead does not compile', () => {
    // @ts-expect-error after `quiesce` comes `snapshot` and nothing else
    const astray: Step<'quiesce'> = async () => ({ is: 'done', next: { step: 'clone', ...snapped } })
    // @ts-expect-error `cleanup` is the last step
    const endless: Step<'cleanup'> = async () => ({ is: 'done', next: { step: 'quiesce', wish: tagWish } })
    expect([astray, endless]).toHaveLength(2)
  })

  it('that invents a verdict does not compile', () => {
    // @ts-expect-error nobody can promise that much
    const boastful: Consistency = { ...consistency, verdict: 'application' }
    const draft: Draft<'clone'> = { step: 'clone', ...snapped, consistency: boastful }
    expect(draft.step).toBe('clone')
  })

  it('that numbers its own message does not compile', () => {
    // @ts-expect-error hop, tries and sinceMs are the driver's
    const numbered: Draft<'quiesce'> = { step: 'quiesce', wish: tagWish, hop: 7, sinceMs: nowMs }
    expect(numbered.step).toBe('quiesce')
  })
})
