import { describe, expect, it } from 'vitest'
import { makeEngine } from '../support/engine.ts'
import { longestFrozenMs } from '../support/frozen.ts'
import { oneQueuePeriod, violationsAtRest } from '../support/invariants.ts'
import { endOf, scenarios, type Scenario } from '../support/scenarios.ts'
import type { World } from '../fakes/world.ts'
import { casesOf } from './cases.ts'
import { count, mostFrozenMs } from './tally.ts'

/**
 * Two things end a freeze whose functions died, and each is enough by itself: the armed thaw, and the sweep. The functions die
 * at every call from the freeze on, with the other of the two turned off.
 */
const freezing = scenarios.filter((s) => /with a freeze|and an agent: consistent/.test(s.name))
const sweepMs = 60_000

describe.each(freezing)('$name, its functions dying in the window', (scenario) => {
  it('the armed thaw is enough: no sweep looks at freezes', async () => {
    const mostMs = await longestOf(scenario, 'the armed thaw alone', (world) => {
      const { leases } = world.ports
      world.ports.leases = { ...leases, frozen: () => Promise.resolve([]) }
      return () => undefined
    })
    expect(mostMs).toBeLessThanOrEqual(mostFrozenMs)
    expect(mostMs, 'nobody needed the thaw').toBeGreaterThan(4_000)
  })

  it('the sweep is enough: the queue loses each armed thaw, and all it holds when the function dies', async () => {
    const mostMs = await longestOf(scenario, 'the sweep alone', (world) => {
      const armed = new Set<number>()
      world.queue.harms((message) => {
        if (message.step !== 'thaw' || armed.has(message.epoch)) return null
        armed.add(message.epoch)
        return 'lose'
      })
      return () => world.queue.all().forEach(world.queue.lose)
    })
    expect(mostMs).toBeLessThanOrEqual(mostFrozenMs + sweepMs)
    expect(mostMs, 'nobody needed the sweep').toBeGreaterThan(mostFrozenMs)
  })
})

/** @param turnOff of the guards the other one; gives what else happens a moment after the fault */
async function longestOf(scenario: Scenario, way: string, turnOff: (world: World) => () => void): Promise<number> {
  const bad: string[] = []
  let frozenMs = 0
  const window = (await casesOf(scenario)).filter(
    ({ name, way }) => /\/(quiesce|snapshot)\//.test(name) && /^(crash (before|after)|hang|sleep|pause)/.test(way),
  )
  for (const { index, way: broken, name } of window) {
    const { world, server } = scenario.begin()
    const besides = turnOff(world)
    const engine = makeEngine(world, (at) => {
      if (at === index) world.clock.in(1_000, besides)
      return at === index ? broken : null
    })
    await engine.toRest()
    frozenMs = Math.max(frozenMs, longestFrozenMs(world))
    const wrong = violationsAtRest(world, { thawMs: sweepMs + oneQueuePeriod.thawMs })
    if (wrong.length > 0 || !scenario.ends.includes(endOf(world, server.id))) bad.push([name, ...wrong].join('; '))
  }
  count({ what: scenario.name, way, calls: 0, cases: window.length, bad: bad.length, frozenMs })
  expect(bad).toEqual([])
  return frozenMs
}
