import { describe, expect, it } from 'vitest'
import { makeEngine } from '../support/engine.ts'
import { callWays, type Way } from '../support/faults.ts'
import { violationsAtRest } from '../support/invariants.ts'
import { endOf, scenarios, type Scenario } from '../support/scenarios.ts'

/**
 * One good run is recorded as the list of its port calls. Then, for every one of them, the same run with that call broken:
 * an error or the function's death, before its effect or after it, or a pause longer than a guest may be frozen.
 */
describe.each(scenarios)('$name', (scenario) => {
  it('ends well when nothing is broken', async () => {
    expect(await runWith(scenario, null)).toEqual({ violations: [], end: scenario.ends[0] })
  })

  it.each(callWays)('ends well with any one call broken: %s', async (kind) => {
    const good = await record(scenario)
    const bad: string[] = []
    for (const [index, { name, step }] of good.entries()) {
      const { violations, end } = await runWith(scenario, { index, kind })
      const isGood = violations.length === 0 && scenario.ends.includes(end)
      if (!isGood) bad.push([`${index} ${step}: ${name}: ${end}`, ...violations].join('; '))
    }
    expect(bad).toEqual([])
  })
})

async function record(scenario: Scenario) {
  const { world } = scenario.begin()
  const engine = makeEngine(world)
  await engine.toRest()
  return engine.meddler.calls
}

async function runWith(scenario: Scenario, broken: { index: number; kind: Way } | null) {
  const { world, server } = scenario.begin()
  const engine = makeEngine(world, (index) => (index === broken?.index ? broken.kind : null))
  await engine.toRest()
  return { violations: violationsAtRest(world), end: endOf(world, server.id) }
}
