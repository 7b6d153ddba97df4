import { existsSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { pick } from '../support/chance.ts'
import { scenarios } from '../support/scenarios.ts'
import { oneQueuePeriod, type Leeway } from '../support/invariants.ts'
import { casesAt, casesOf, runWith, type Case } from './cases.ts'

/**
 * `npm run test:pairs -- --minutes N [--seed S] [--state FILE]`: two faults in one run. The second is chosen among the calls
 * that the run with the first one makes after it. There are too many to try all (tens of millions); number n of a seed is
 * always the same pair, so a run goes on where the state file says that the last one stopped.
 * `--only N`: that pair alone, with what was wrong.
 */
const { values } = parseArgs({
  options: {
    minutes: { type: 'string', default: '5' },
    seed: { type: 'string', default: '1' },
    state: { type: 'string' },
    only: { type: 'string' },
  },
})
const seed = Number(values.seed)
const stateFile = values.state ?? join(tmpdir(), `rbdsnap-pairs-${seed}.json`)

interface State {
  seed: number
  next: number
  frozenMs: number
  byScenario: Record<string, { pairs: number; bad: number }>
  bad: { pair: number; names: string[]; wrong: string[] }[]
}

/** Two things lost in a row may each wait for the sweep. */
const leeway: Leeway = { thawMs: 2 * oneQueuePeriod.thawMs + 2 * 60_000, mayGoOn: true }
const singles = new Map<string, Case[]>()

async function tryPair(pair: number) {
  const scenario = pick(scenarios, seed, pair, 1)
  if (!scenario) throw new Error('there are no scenarios')
  const known = singles.get(scenario.name) ?? (await casesOf(scenario))
  singles.set(scenario.name, known)
  const first = pick(known, seed, pair, 2)
  if (!first) throw new Error(`${scenario.name} has no cases`)
  const alone = await runWith(scenario, new Map([[first.index, first.way]]), leeway)
  const second = pick(casesAt(scenario, alone.calls, first.index + 1), seed, pair, 3)
  if (!second) return { scenario, names: [first.name], ...alone }
  const broken = new Map([first, second].map(({ index, way }) => [index, way]))
  return { scenario, names: [first.name, second.name], ...(await runWith(scenario, broken, leeway)) }
}

function load(): State {
  const fresh: State = { seed, next: 0, frozenMs: 0, byScenario: {}, bad: [] }
  if (!existsSync(stateFile)) return fresh
  const known = JSON.parse(readFileSync(stateFile, 'utf8')) as State
  return known.seed === seed ? known : fresh
}

function keep(state: State): void {
  writeFileSync(`${stateFile}.new`, JSON.stringify(state, null, 1))
  renameSync(`${stateFile}.new`, stateFile)
}

function tell({ byScenario, bad, next, frozenMs }: State): void {
  const rows = Object.entries(byScenario).map(
    ([name, of]) => `${name.padEnd(52)} ${String(of.pairs).padStart(8)} pairs ${String(of.bad).padStart(4)} bad`,
  )
  const details = bad
    .slice(0, 20)
    .map(
      (b) =>
        `${b.names.join('  +  ')}\n  ${b.wrong.join('; ')}\n  again: npm run test:pairs -- --seed ${seed} --only ${b.pair}`,
    )
  console.log(
    [...details, '', ...rows, '', `seed ${seed}: ${next} pairs, ${bad.length} bad, longest freeze ${frozenMs} ms`].join(
      '\n',
    ),
  )
}

if (values.only !== undefined) {
  const { names, wrong } = await tryPair(Number(values.only))
  console.log([...names, ...wrong, wrong.length === 0 ? 'ends well' : ''].join('\n'))
  process.exitCode = wrong.length === 0 ? 0 : 1
} else {
  const state = load()
  const untilMs = performance.now() + Number(values.minutes) * 60_000
  const began = state.next
  let toldMs = performance.now()
  while (performance.now() < untilMs) {
    const pair = state.next++
    const { scenario, names, wrong, frozenMs } = await tryPair(pair)
    const of = (state.byScenario[scenario.name] ??= { pairs: 0, bad: 0 })
    of.pairs += 1
    state.frozenMs = Math.max(state.frozenMs, frozenMs)
    if (wrong.length > 0) {
      of.bad += 1
      state.bad.push({ pair, names, wrong })
    }
    if (performance.now() - toldMs < 10_000) continue
    toldMs = performance.now()
    keep(state)
    console.error(`pair ${state.next} (${state.next - began} now), ${state.bad.length} bad`)
  }
  keep(state)
  tell(state)
  process.exitCode = state.bad.length === 0 ? 0 : 1
}
