import { describe, expect, it } from 'vitest'
import { callWays } from '../support/faults.ts'
import { scenarios, type Scenario } from '../support/scenarios.ts'
import { casesOf, runWith, type Case } from './cases.ts'
import { count, mostFrozenMs } from './tally.ts'

/**
 * The good run is recorded as the list of its port calls; then the same run for each of them and each way to break it. What is
 * looked at afterwards is the world: Ceph, Glance, Nova, the guest, the journal, the queues.
 */
const kinds = [...callWays, 'crash between two requests', 'late effect'] as const

export function describeSingleFaults(road: Scenario['road']): void {
  describe.each(scenarios.filter((s) => s.road === road))('$name', (scenario) => {
    it('ends well when nothing is broken', async () => {
      expect((await runWith(scenario, new Map())).wrong).toEqual([])
    })

    it.each(kinds)('ends well with any one call broken: %s', async (kind) => {
      const cases = (await casesOf(scenario)).filter(({ way }) => kindOf(way) === kind)
      const bad: string[] = []
      let frozenMs = 0
      for (const one of cases) {
        const result = await runWith(scenario, new Map([[one.index, one.way]]))
        frozenMs = Math.max(frozenMs, result.frozenMs)
        if (result.wrong.length > 0) bad.push(sayBad(one, result.wrong))
      }
      const calls = new Set(cases.map((c) => c.index)).size
      count({ what: scenario.name, way: kind, calls, cases: cases.length, bad: bad.length, frozenMs })
      expect(bad).toEqual([])
      expect(frozenMs).toBeLessThanOrEqual(mostFrozenMs)
    })
  })
}

function kindOf(way: Case['way']): (typeof kinds)[number] {
  if (way.startsWith('late')) return 'late effect'
  if (way.startsWith('crash at')) return 'crash between two requests'
  return way as (typeof callWays)[number]
}

function sayBad({ name }: Case, wrong: string[]): string {
  return `${wrong.join('; ')}\n  again: npm run test:faults -- --only '${name}'`
}
