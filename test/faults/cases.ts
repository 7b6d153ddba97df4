import { makeEngine } from '../support/engine.ts'
import { callWays, type PortCall, type Way } from '../support/faults.ts'
import { longestFrozenMs } from '../support/frozen.ts'
import { violationsAtRest, type Leeway } from '../support/invariants.ts'
import { endOf, type Scenario } from '../support/scenarios.ts'

/** One call of one scenario's good run, broken in one way. */
export interface Case {
  scenario: Scenario
  /** `scenario/step/port.method#n/way`: the n-th call of this name in that step */
  name: string
  index: number
  way: Way
}

export interface Result {
  /** empty when all is well */
  wrong: string[]
  calls: PortCall[]
  frozenMs: number
}

/** Within the next try, while the queue still waits for the function that died, and after the run has ended. */
const latesMs = [14_200, 31_000, 600_000]
/** A request to freeze carries its own end, the freeze's budget: later it never comes. */
const latesOfFreezeMs = [500, 2_000, 4_500]

function waysOf({ name, requests }: PortCall): Way[] {
  const nths = Array.from({ length: requests }, (_, nth) => nth)
  const lates = name === 'guest.freeze' || name === 'guest.hasHeld' ? latesOfFreezeMs : latesMs
  return [
    ...callWays,
    ...nths.slice(1).map((nth): Way => `crash at ${nth}`),
    ...nths.flatMap((nth) => lates.map((ms): Way => `late ${nth} ${ms}`)),
  ]
}

/** Every call of the good run in every way. */
export async function casesOf(scenario: Scenario): Promise<Case[]> {
  const { calls } = await runWith(scenario, new Map())
  return casesAt(scenario, calls)
}

export function casesAt(scenario: Scenario, calls: PortCall[], from = 0): Case[] {
  const seen = new Map<string, number>()
  return calls.flatMap((call, index) => {
    const what = `${call.step}/${call.name}`
    const nth = seen.get(what) ?? 0
    seen.set(what, nth + 1)
    if (index < from) return []
    return waysOf(call).map((way) => ({ scenario, name: `${scenario.name}/${what}#${nth}/${way}`, index, way }))
  })
}

/** @param broken the numbers of the calls, and what is done to each */
export async function runWith(scenario: Scenario, broken: ReadonlyMap<number, Way>, leeway?: Leeway): Promise<Result> {
  const { world, server } = scenario.begin()
  const engine = makeEngine(world, (index) => broken.get(index) ?? null)
  const wrong: string[] = []
  try {
    await engine.toRest()
    const end = endOf(world, server.id)
    wrong.push(...violationsAtRest(world, leeway))
    const isWanted = broken.size === 0 ? end === scenario.ends[0] : scenario.ends.includes(end)
    if (!isWanted) wrong.push(`it ended as: ${end}`)
  } catch (error) {
    wrong.push(error instanceof Error ? error.message : String(error))
  }
  return { wrong, calls: engine.meddler.calls, frozenMs: longestFrozenMs(world) }
}
