import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { actionOf, keepOf, policyTag } from '../../shared/policy-tags.ts'

describe('the action of an event', () => {
  it.each<[string, string | null]>([
    ['instance.power_off.end', 'power_off'],
    ['instance.shelve.start', 'shelve'],
    ['instance.exists', 'exists'],
    ['instance.power_off.error', null],
    ['instance.', null],
    ['instance..end', null],
    ['instance.a.b.end', null],
    ['instance.Power.end', null],
    ['instance.power off', null],
    ['compute.exception', null],
    [`instance.${'a'.repeat(48)}`, 'a'.repeat(48)],
    [`instance.${'a'.repeat(49)}`, null],
    ['instance.exists\n', null],
  ])('of %j is %j', (event, action) => {
    expect(actionOf(event)).toBe(action)
  })

  it('fits behind our prefix into a tag of Nova, which has 60 characters', () => {
    expect(policyTag(actionOf(`instance.${'a'.repeat(48)}`) ?? '')).toHaveLength(60)
  })
})

describe('how many are kept', () => {
  it.each<[string[], number]>([
    [['snapshot-keep:1'], 1],
    [['gold', 'snapshot-keep:24'], 24],
    [['snapshot-keep:3', 'snapshot-keep:10', 'snapshot-keep:2'], 10],
    [['snapshot-keep:99999999999999'], 99_999_999_999_999],
  ])('%j: the largest number, %d', (tags, newest) => {
    expect(keepOf(tags)).toEqual({ newest })
  })

  it('is everything when there is no such tag', () => {
    expect(keepOf(['snapshot-on:exists', 'snapshot-keep'])).toEqual({ all: 'the server bears no tag snapshot-keep:N' })
  })

  it.each([
    '',
    '0',
    '-1',
    '1e3',
    '0x1',
    '1.5',
    '007',
    '+3',
    ' 3',
    '3 ',
    '3\n',
    '\u0663',
    '\uff13',
    'all',
    '1_000',
    'NaN',
  ])('is everything when the number is %j, also beside a readable one', (text) => {
    for (const tags of [[`snapshot-keep:${text}`], [`snapshot-keep:${text}`, 'snapshot-keep:1']])
      expect(keepOf(tags)).toEqual({ all: 'a tag snapshot-keep:N of the server does not say a number' })
  })

  it('is a number of at least one, or everything, whatever the tags are', () => {
    const text = fc.oneof(fc.string(), fc.integer().map(String), fc.double().map(String), fc.bigInt().map(String))
    fc.assert(
      fc.property(fc.array(text), (texts) => {
        const keep = keepOf(texts.map((t) => `snapshot-keep:${t}`))
        expect('all' in keep || keep.newest >= 1).toBe(true)
      }),
    )
  })
})
