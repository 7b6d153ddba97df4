import { readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import type { Check } from '../../infra/doctor/check.ts'
import { checks } from '../../infra/doctor/checks.ts'
import { examine } from '../../infra/doctor/examine.ts'
import { siteOf } from '../../infra/doctor/site.ts'
import { fail, NotAsked, ok } from '../../infra/doctor/verdict.ts'
import { Failure } from '../../shared/failures.ts'

const site = siteOf({}, { nowMs: () => 0 })
const fine: Check = { name: 'fine', ask: async () => ok('yes') }

describe('the doctor', () => {
  it('asks on when a check breaks, and says with what', async () => {
    const broken: Check = {
      name: 'broken',
      ask: async () => {
        throw new TypeError('x is not a function')
      },
    }
    const refused: Check = {
      name: 'refused',
      ask: () => {
        throw new Failure('CEPH_REFUSED', 'the role is too small')
      },
    }
    const found = await examine([broken, refused, fine], site)
    expect(found.map(({ check, status }) => `${check} ${status}`)).toEqual(['broken fail', 'refused fail', 'fine ok'])
    expect(found[0]?.detail).toBe('UNKNOWN: x is not a function')
    expect(found[1]?.detail).toBe('CEPH_REFUSED: the role is too small')
    expect(found[1]?.remedy).toContain('dashboard user')
  })

  it('gives a check that never answers up after its time', async () => {
    const silent: Check = { name: 'silent', ask: () => new Promise(() => undefined) }
    const found = await examine([silent, fine], site, 20)
    expect(found).toContainEqual({ ...found[0], check: 'silent', status: 'fail', detail: 'no answer within 0.02 s' })
    expect(found[1]?.status).toBe('ok')
  })

  it('does not put a question that only fails with another, and says which', async () => {
    const wrong: Check = { name: 'wrong', ask: async () => fail('no', 'mend it') }
    const after: Check = { name: 'after', after: ['fine', 'wrong'], ask: async () => ok('never') }
    const later: Check = { name: 'later', after: ['after'], ask: async () => ok('never') }
    const found = await examine([fine, wrong, after, later], site)
    expect(found.slice(2).map(({ status, detail }) => `${status} ${detail}`)).toEqual([
      'warn not asked: first wrong',
      'warn not asked: first after',
    ])
  })

  it('calls what cannot be known no fault', async () => {
    const unknown: Check = {
      name: 'unknown',
      ask: async () => {
        throw new NotAsked('nobody may ask', 'ask the administrator')
      },
    }
    const [found] = await examine([unknown], site)
    expect(found).toEqual({
      check: 'unknown',
      status: 'warn',
      detail: 'not asked: nobody may ask',
      remedy: 'ask the administrator',
    })
  })

  it('has its checks explained in docs/operate.md, and no other', () => {
    const [, section = ''] =
      /## Look before the first event\n(.*?)\n## /s.exec(readFileSync('docs/operate.md', 'utf8')) ?? []
    const rows = [...section.matchAll(/^\| (`.*?`) +\|/gm)].flatMap(([, cell = '']) => cell.match(/[^`]+(?=`)/g) ?? [])
    const explained = rows.filter((name) => name.trim() !== ',')
    expect(explained.sort()).toEqual(checks.map(({ name }) => name).sort())
  })

  it('has each check once, after those that it needs', () => {
    const names = checks.map(({ name }) => name)
    expect(new Set(names).size).toBe(names.length)
    for (const { name, after = [] } of checks)
      for (const other of after)
        expect(names.indexOf(other), `${name} after ${other}`).toBeLessThan(names.indexOf(name))
  })
})
