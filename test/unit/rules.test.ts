import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { readRules } from '../../shared/config.ts'
import { takeOverRun } from '../../shared/names.ts'
import { defaultRules, explain, runOfTakeOver, tagWishes, type Rule, type Rules } from '../../shared/rules.ts'
import type { Notification } from '../../shared/run.ts'
import { instance, nowMs, project } from './given.ts'

function heard(event: string, more: Partial<Notification> = {}): Notification {
  return {
    is: 'notification',
    format: 'versioned',
    eventType: event,
    event,
    messageId: 'm',
    atMs: nowMs,
    instance,
    project,
    image: null,
    tags: null,
    ...more,
  }
}
function rule(more: Partial<Rule>): Rule {
  return { name: 'one', events: ['*'], then: 'note', quiesce: 'auto', why: 'because', ...more }
}
const rulesOf = (...rules: Rule[]): Rules => ({ ...defaultRules, rules })
const isMatch = (pattern: string, event: string) =>
  explain(heard(event), rulesOf(rule({ events: [pattern] }))).rule !== null

describe('the rules', () => {
  it('let the first that matches decide', () => {
    const rules = rulesOf(rule({ name: 'first', events: ['instance.*'] }), rule({ name: 'second', then: 'ignore' }))
    expect(explain(heard('instance.lock'), rules)).toMatchObject({ decision: 'note', rule: { name: 'first' } })
    expect(explain(heard('scheduler.x'), rules)).toMatchObject({ decision: 'ignore', rule: { name: 'second' } })
  })

  it('ignore what no rule matches, and say so', () => {
    const rules = rulesOf(rule({ events: ['instance.update'] }))
    expect(explain(heard('instance.lock'), rules)).toEqual({
      decision: 'ignore',
      rule: null,
      reason: 'no rule matches',
      policy: null,
    })
  })

  it('pass over a rule for other projects, and over any such rule when no project is named', () => {
    const rules = rulesOf(rule({ name: 'some', projects: [project] }), rule({ name: 'rest', then: 'ignore' }))
    expect(explain(heard('x'), rules).rule?.name).toBe('some')
    expect(explain(heard('x', { project: 'another' }), rules).rule?.name).toBe('rest')
    expect(explain(heard('x', { project: null }), rules).rule?.name).toBe('rest')
  })

  it.each([
    ['instance.update', 'instance.update', true],
    ['instance.update', 'instance.update2', false],
    ['*', 'anything at all', true],
    ['*', '', true],
    ['instance.resize*', 'instance.resize_prep.start', true],
    ['instance.delete.*', 'instance.delete', false],
    ['*.end', 'instance.delete.end', true],
    ['*.end', 'instance.delete.ending', false],
    ['instance.*.end', 'instance.delete.end', true],
    ['instance.*.end', 'instance.end', false],
    ['a*a', 'a', false],
    ['a**b', 'ab', true],
    ['*a*b*', 'xbxaxb', true],
    ['instance.updat.', 'instance.update', false],
  ])('with the pattern %s and the event %s match: %s', (pattern, event, isExpected) => {
    expect(isMatch(pattern, event)).toBe(isExpected)
  })

  it('match as a regular expression of the same meaning would', () => {
    const letters = fc.array(fc.constantFrom('a', 'b', '.', '*'), { maxLength: 8 }).map((l) => l.join(''))
    const asRegExp = (pattern: string) =>
      new RegExp(
        `^${pattern
          .split('*')
          .map((p) => p.replaceAll('.', '\\.'))
          .join('.*')}$`,
        's',
      )
    fc.assert(
      fc.property(letters, letters, (pattern, event) => {
        expect(isMatch(pattern, event)).toBe(asRegExp(pattern).test(event))
      }),
      { numRuns: 2_000 },
    )
  })
})

describe('the default rules', () => {
  it('take over a snapshot that Nova begins', () => {
    const image = '56813989-0617-48bf-bca3-9bbe9caca90f'
    expect(explain(heard('instance.snapshot.start', { image }), defaultRules)).toMatchObject({
      decision: 'request',
      wishes: [{ is: 'take-over', image }],
      reason: 'Nova is about to fill a queued image',
    })
  })

  it('serve each tag that asks for a snapshot, and name them', () => {
    const explained = explain(heard('instance.update', { tags: ['gold', 'snapshot', 'snapshot:x'] }), defaultRules)
    expect(explained).toMatchObject({ decision: 'request', reason: 'the server bears the tag snapshot, snapshot:x' })
  })

  it.each([
    ['a server without such a tag', heard('instance.update', { tags: ['gold'] }), /does not bear the tag/],
    ['a legacy update', heard('instance.update', { format: 'legacy' }), /legacy notifications carry no tags/],
    ['a message that names no instance', heard('compute.exception', { instance: null }), /names no instance/],
    ['a snapshot of nobody', heard('instance.snapshot.start', { project: null }), /names no project/],
    ['anything else', heard('instance.lock'), /not a request/],
  ])('ignore %s and say why', (_what, notification, reason) => {
    expect(explain(notification, defaultRules)).toMatchObject({
      decision: 'ignore',
      reason: expect.stringMatching(reason) as string,
    })
  })

  it.each([
    'instance.live_migration_post.end',
    'instance.resize.start',
    'instance.delete.start',
    'instance.snapshot.end',
  ])('take %s as a sign to look again', (event) => {
    expect(explain(heard(event), defaultRules).decision).toBe('note')
  })
})

describe('a rule for policies', () => {
  const policy = rule({ name: 'policy', then: 'policy' })
  const policyOf = (...rules: Rule[]) => explain(heard('instance.power_off.end'), rulesOf(...rules)).policy

  it('is heard besides: the rules below it decide as if it were not there', () => {
    const below = rule({ name: 'moves' })
    const with_ = explain(heard('instance.power_off.end'), rulesOf(policy, below))
    expect(with_).toMatchObject({ decision: 'note', rule: { name: 'moves' }, policy: { action: 'power_off' } })
    const without = explain(heard('instance.power_off.end'), rulesOf(below))
    expect({ ...with_, policy: null }).toEqual(without)
  })

  it('is not reached behind a rule that decides, and the first of two counts', () => {
    expect(policyOf(rule({ then: 'ignore' }), policy)).toBeNull()
    expect(policyOf(policy, { ...policy, name: 'second' })?.rule.name).toBe('policy')
    expect(policyOf({ ...policy, projects: ['another'] })).toBeNull()
  })

  it('asks Nova for the tag where the notification carries none, and nobody where it carries others', () => {
    const created = (tags: string[] | null) => explain(heard('instance.create.end', { tags }), rulesOf(policy)).policy
    expect(created(null)).toMatchObject({ tag: 'snapshot-on:create' })
    expect(created(['snapshot-on:create'])).toMatchObject({ tag: 'snapshot-on:create' })
    expect(created(['snapshot-on:', 'snapshot-on:creat', 'snapshot-on:create '])).toBeNull()
  })

  it.each([
    { instance: null },
    { project: null },
    { event: 'compute.exception' },
    { event: 'instance.power_off.error' },
  ])('fires at nothing that lacks what it needs: %j', (more) => {
    expect(explain(heard('instance.power_off.end', more), rulesOf(policy)).policy).toBeNull()
  })

  it('leaves every event that the default rules note or serve to them', () => {
    const events = defaultRules.rules.flatMap((r) => (r.then === 'policy' ? r.events : []))
    const deciding = events.map((event) => explain(heard(event), defaultRules).rule?.name)
    expect(new Set(deciding)).toEqual(new Set(['rest']))
  })
})

describe('a tag', () => {
  it.each<[string, string | null | undefined]>([
    ['snapshot', null],
    ['snapshot:before upgrade', 'before upgrade'],
    ['snapshot:a:b', 'a:b'],
    ['snapshot:two\nlines', 'two\nlines'],
    ['snapshot:', undefined],
    ['Snapshot', undefined],
    ['snapshots', undefined],
    ['snapshot-keep:3', undefined],
    ['snapshot-on:power_off', undefined],
    [' snapshot', undefined],
  ])('%j asks for an image named %j', (tag, name) => {
    expect(tagWishes([tag])).toEqual(name === undefined ? [] : [{ is: 'tag', tag, name }])
  })

  it('that is there twice asks once', () => {
    expect(tagWishes(['snapshot', 'snapshot'])).toHaveLength(1)
  })
})

describe('the run of a take-over', () => {
  it('is known from a versioned notification and not from a legacy one', () => {
    expect(runOfTakeOver({ is: 'take-over', image: instance })).toBe(takeOverRun(instance))
    expect(runOfTakeOver({ is: 'take-over', image: null })).toBeNull()
  })
})

describe('a file of rules', () => {
  const wrongOf = (text: string): string => {
    const folder = mkdtempSync(join(tmpdir(), 'rules-'))
    try {
      writeFileSync(join(folder, 'rules.json'), text)
      readRules(join(folder, 'rules.json'))
      return ''
    } catch (error) {
      return (error as Error).message
    } finally {
      rmSync(folder, { recursive: true })
    }
  }
  const { limits } = defaultRules

  it('is read, and a rule that says nothing of freezing gets `auto`', () => {
    const { quiesce: _unsaid, ...bare } = rule({})
    expect(wrongOf(JSON.stringify({ rules: [bare], limits }))).toBe('')
  })

  it.each<[string, unknown, RegExp]>([
    ['that is not JSON', '{', /BAD_SETTING.*RBDSNAP_RULES.*cannot be read/],
    ['without rules', JSON.stringify({ rules: [], limits }), /rules/],
    ['with an unknown action', JSON.stringify({ rules: [{ ...rule({}), then: 'delete' }], limits }), /rules\.0\.then/],
    [
      'with an unknown freeze policy',
      JSON.stringify({ rules: [{ ...rule({}), quiesce: 'maybe' }], limits }),
      /rules\.0\.quiesce/,
    ],
    ['with a rule for no event', JSON.stringify({ rules: [rule({ events: [] })], limits }), /rules\.0\.events/],
    ['without limits', JSON.stringify({ rules: [rule({})] }), /limits/],
    [
      'with a limit of nothing',
      JSON.stringify({ rules: [rule({})], limits: { ...limits, project: { open: 0, perHour: 1 } } }),
      /open/,
    ],
  ])('%s is refused, and what is wrong is said', (_what, text, says) => {
    expect(wrongOf(text as string)).toMatch(says)
  })

  const ofPolicies = (...events: string[][]) =>
    wrongOf(JSON.stringify({ rules: events.map((of) => rule({ events: of, then: 'policy' })), limits }))

  it('with policies names each event in full, and one event of each action', () => {
    expect(ofPolicies(['instance.power_off.end', 'instance.exists'])).toBe('')
    expect(ofPolicies(['instance.power_off.end'], ['instance.power_off.end'])).toBe('')
    const refused = /RBDSNAP_RULES: rules: .*each action by one event/
    expect(ofPolicies(['instance.power_off.*'])).toMatch(refused)
    expect(ofPolicies(['instance.power_off.start', 'instance.power_off.end'])).toMatch(refused)
    expect(ofPolicies(['instance.power_off.start'], ['instance.power_off.end'])).toMatch(refused)
    expect(ofPolicies(['instance.power_off.error'])).toMatch(refused)
  })

  it('that does not exist is refused by its name', () => {
    expect(() => readRules('/nowhere/rules.json')).toThrow(/RBDSNAP_RULES: \/nowhere\/rules\.json cannot be read/)
  })
})
