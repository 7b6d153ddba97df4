import { readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { explainBody } from '../../infra/cli/explain.ts'
import { policyRun } from '../../shared/names.ts'
import { defaultRules, type Rule, type Rules } from '../../shared/rules.ts'

const epochs = () => Promise.resolve(1)
const bodyOf = (name: string) =>
  (JSON.parse(readFileSync(new URL(`../../events/${name}`, import.meta.url), 'utf8')) as { body: unknown }).body
const explained = (name: string, rules: Rules = defaultRules) => explainBody(name, bodyOf(name), rules, epochs)
const off = '21-instance.power_off.end.versioned.json'

describe('`rbdsnap explain` of an event of a policy', () => {
  it('says which tag it depends on, and which run would begin', async () => {
    const [only, ...others] = await explained(off)
    expect(others).toEqual([])
    expect(only).toMatchObject({ decision: 'ask', rule: 'policy' })
    expect(only?.reason).toContain('snapshot-on:power_off')
    const atMs = Date.parse('2026-11-23T01:21:59.792Z')
    expect(only?.run).toBe(policyRun(only?.instance ?? '', 'power_off', atMs))
  })

  it('says besides what else is made of the event', async () => {
    const policy: Rule = { name: 'p', events: ['instance.resize.start'], then: 'policy', quiesce: 'auto', why: 'x' }
    const rules = { ...defaultRules, rules: [policy, ...defaultRules.rules] }
    const both = await explained('25-instance.resize.start.versioned.json', rules)
    expect(both.map(({ decision, rule }) => `${decision}: ${rule}`)).toEqual(['note: moves', 'ask: p'])
  })

  it('says why not when no rule for policies has the event', async () => {
    const [only] = await explained('20-instance.power_off.start.versioned.json')
    expect(only).toMatchObject({ decision: 'ignore', rule: 'rest', reason: 'not a request', run: null })
  })
})
