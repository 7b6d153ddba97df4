import { makeEngine } from '../support/engine.ts'
import { callWays, type PortCall, type Way } from '../support/faults.ts'
import { violationsAtRest } from '../support/invariants.ts'
import { endOf, scenarios, type Scenario } from '../support/scenarios.ts'
import { longestFrozenMs } from '../support/frozen.ts'

/** One call of one scenario's good run, broken in one way. */
export interface Case {
  scenario: Scenario
  index: number
  call: PortCall
  way: Way
}

export interface Result {
  end: string
  violations: string[]
  isGood: boolean
  frozenMs: number
}

/** Within the next try, while the queue still waits for the function that died, and after the run has ended. */
const latesMs = [14_200, 31_000, 600_000]
/** A request to freeze carries its own end, the freeze's budget: later it never comes. */
const latesOfFreezeMs = [500, 2_000, 4_500]

/** The calls of a run in which nothing is broken. */
export async function record({ begin }: Scenario): Promise<PortCall[]> {
  const { world } = begin()
  const engine = makeEngine(world)
  await engine.toRest()
  return engine.meddler.calls
}

export function waysOf({ name, requests }: PortCall): Way[] {
  const nths = Array.from({ length: requests }, (_, nth) => nth)
  const lates = name === 'guest.freeze' || name === 'guest.hasHeld' ? latesOfFreezeMs : latesMs
  return [
    ...callWays,
    ...nths.slice(1).map((nth): Way => `crash at ${nth}`),
    ...nths.flatMap((nth) => lates.map((ms): Way => `late ${nth} ${ms}`)),
  ]
}

export async function casesOf(scenario: Scenario): Promise<Case[]> {
  const calls = await record(scenario)
  return calls.flatMap((call, index) => waysOf(call).map((way) => ({ scenario, index, call, way })))
}

/** `scenario/step/port.method#n/way`: the n-th call of this name in the run */
export function nameOf({ scenario, index, call, way }: Case, calls: PortCall[]): string {
  const nth = calls.slice(0, index).filter((c) => c.name === call.name && c.step === call.step).length
  return `${scenario.name}/${call.step}/${call.name}#${nth}/${way}`
}

/** @param broken the numbers of the calls, and what is done to each */
export async function runWith(scenario: Scenario, broken: ReadonlyMap<number, Way>): Promise<Result> {
  const { world, server } = scenario.begin()
  const engine = makeEngine(world, (index) => broken.get(index) ?? null)
  try {
    await engine.toRest()
  } catch (error) {
    const words = error instanceof Error ? error.message : String(error)
    return { end: 'no end', violations: [words], isGood: false, frozenMs: 0 }
  }
  const end = endOf(world, server.id)
  const violations = violationsAtRest(world)
  const isGood = violations.length === 0 && scenario.ends.includes(end)
  return { end, violations, isGood, frozenMs: longestFrozenMs(world) }
}

export { scenarios }
