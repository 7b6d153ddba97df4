import { describe, expect, it } from 'vitest'
import type { World } from '../fakes/world.ts'
import { makeEngine } from '../support/engine.ts'
import { longestFrozenMs } from '../support/frozen.ts'
import { violationsAtRest } from '../support/invariants.ts'
import { scenarios, type Scenario } from '../support/scenarios.ts'
import { runWith } from './cases.ts'
import { count } from './tally.ts'

/**
 * The owner deletes his image just before one of our calls, whichever. Glance deletes the data first and its record after it: in
 * between, for as long as this many more calls of ours, the image is active and has no volume. Nothing is parked for that, and
 * nothing is left.
 */
const callsBetween = [0, 1, 2, 3]

describe.each(scenarios)('$name', (scenario) => {
  it('its owner deletes the image before any call, in one go or not: the run ends, and nothing is left', async () => {
    const { calls } = await runWith(scenario, new Map())
    const bad: string[] = []
    let cases = 0
    let frozenMs = 0
    for (const [index, { step, name }] of calls.entries()) {
      for (const between of callsBetween) {
        const told = await deletedAt(scenario, index, between)
        if (!told.isDeleted) break
        cases += 1
        frozenMs = Math.max(frozenMs, told.frozenMs)
        if (told.wrong.length > 0)
          bad.push(`call ${index} ${step}/${name}, ${between} between: ${told.wrong.join('; ')}`)
      }
    }
    count({
      what: scenario.name,
      way: 'its owner deletes the image',
      calls: calls.length,
      cases,
      bad: bad.length,
      frozenMs,
    })
    expect(bad).toEqual([])
    if (scenario.ends[0]?.endsWith('images: 1')) expect(cases, 'its owner never deleted anything').toBeGreaterThan(0)
  })
})

async function deletedAt(scenario: Scenario, index: number, between: number) {
  const { world, server } = scenario.begin()
  let isDeleted = false
  let endIt = () => {}
  const engine = makeEngine(world, (at) => {
    const image = at === index ? imageOf(world, server.id) : undefined
    const end = image && world.deleteImageSlowly(image.id)
    if (end) {
      isDeleted = true
      // A queued one has no data to delete first.
      if (image.status === 'queued') end()
      else endIt = end
    }
    if (at === index + between) endNow()
    return null
  })
  const endNow = () => {
    endIt()
    endIt = () => {}
  }
  await engine.toRest()
  endNow()
  await engine.toRest()
  const parked = world.store.runs().filter((run) => run.outcome === 'parked')
  const wrong = [
    ...parked.map(({ reason }) => `parked: ${reason}`),
    ...violationsAtRest(world).map((violation) => JSON.stringify(violation)),
  ]
  return { isDeleted, wrong, frozenMs: longestFrozenMs(world) }
}

const imageOf = (world: World, instance: string) =>
  [...world.glance.images.values()].find((image) => image.properties['instance_uuid'] === instance)
