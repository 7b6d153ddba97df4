import { describe, expect, it } from 'vitest'
import { retry } from '../../infra/cli/retry.ts'
import { unwind } from '../../infra/cli/unwind.ts'
import { makeEngine } from '../support/engine.ts'
import type { PortCall, Way } from '../support/faults.ts'
import { longestFrozenMs } from '../support/frozen.ts'
import { violationsAtRest } from '../support/invariants.ts'
import { endOf, scenarios, type Scenario } from '../support/scenarios.ts'
import { runWith } from './cases.ts'
import { count } from './tally.ts'

/**
 * A service answers one call with something that its API does not have. Nothing can be concluded from that, so the run is parked,
 * with the guest thawed; and a person who has mended the service lets it go on, or takes it back.
 */
const services = /^(compute|images|volumes|guest)\./
const wrongWays: Way[] = ['wrong before', 'wrong after']
/** The notification of a take-over is set aside, and Nova is left alone with its image. */
const alone = /^, images: [01]$|^too late$/
/** Taken back, nothing of ours is left; what Nova makes of its own image is Nova's. */
const takenBack = {
  tag: /^rejected, images: 0$/,
  createImage: /^(rejected|nova-did-it), images: [01]$|^too late$/,
  policy: /^(active,){5}rejected, images: 5$/,
}
/** Whom nobody can be asked about is kept: an older image that a policy's clean-up cannot read of ends no run. */
const keptMore = /^(active,){5}active, images: [456]$/

type World = ReturnType<Scenario['begin']>['world']
type Deed = 'went on' | 'taken back' | 'either'
type Person = (world: World) => Promise<Deed>

const letsItGoOn: Person = async (world) => {
  for (const run of parkedIn(world)) await retry(run, world.store.journal, world.clock.nowMs())
  return 'went on'
}

const takesItBack: Person = async (world) => {
  const [run] = parkedIn(world)
  const { step } = run?.message ?? {}
  // refused: the image is active already, or it is on its way back
  if (!run || step === 'flatten' || step === 'cleanup' || step === 'unwind') return letsItGoOn(world)
  await unwind(run, world.store.journal, world.clock.nowMs())
  // an image that is active after all, its answer lost, goes forward
  return step === 'register' || step === 'fallback' ? 'either' : 'taken back'
}

describe.each(scenarios)('$name', (scenario) => {
  it.each<[string, Person]>([
    ['is let go on', letsItGoOn],
    ['is taken back', takesItBack],
  ])('a call answered with nonsense: the run is parked, and %s', async (what, person) => {
    const bad: string[] = []
    const { calls } = await runWith(scenario, new Map())
    const asked = [...calls.entries()].filter(([, { name }]) => services.test(name))
    let frozenMs = 0
    let parked = 0
    for (const [index, call] of asked) {
      for (const way of wrongWays) {
        const told = await tell(scenario, call, index, way, person)
        frozenMs = Math.max(frozenMs, told.frozenMs)
        parked += told.parked
        if (told.wrong.length > 0) bad.push(`${nameOf(call, index)}/${way}: ${told.wrong.join('; ')}`)
      }
    }
    const way = `an answer that cannot be read, then it ${what}`
    count({ what: scenario.name, way, calls: asked.length, cases: asked.length * 2, bad: bad.length, frozenMs })
    expect(bad).toEqual([])
    expect(parked, 'no run was parked').toBeGreaterThan(0)
  })
})

const nameOf = ({ step, name }: PortCall, index: number) => `call ${index} ${step}/${name}`
const parkedIn = ({ store }: World) => store.runs().filter((r) => r.outcome === 'parked')

async function tell(scenario: Scenario, call: PortCall, index: number, way: Way, person: Person) {
  const { world, server } = scenario.begin()
  const engine = makeEngine(world, (at) => (at === index ? way : null))
  await engine.toRest()
  const wrong: string[] = violationsAtRest(world).map((v) => `at its first rest: ${v}`)
  const isAside = world.store.parked().length > 0
  const parked = parkedIn(world).length
  const deed = await person(world)
  await engine.toRest()
  const end = endOf(world, server.id)
  const isKept = scenario.road === 'policy' && call.step === 'cleanup' && keptMore.test(end)
  const isWell = deed !== 'taken back' && (scenario.ends.includes(end) || isKept)
  const isBack = deed !== 'went on' && takenBack[world.wishes[0]?.kind ?? 'tag'].test(end)
  if (!isWell && !isBack && !(isAside && alone.test(end))) wrong.push(`${deed}, it ended as: ${end}`)
  return { parked, wrong: [...wrong, ...violationsAtRest(world)], frozenMs: longestFrozenMs(world) }
}
