import { spawnSync } from 'node:child_process'
import { parseArgs } from 'node:util'
import { makeEngine } from '../support/engine.ts'
import { violationsAtRest } from '../support/invariants.ts'
import { endOf, scenarios } from '../support/scenarios.ts'
import { casesOf, type Case } from './cases.ts'

/** `npm run test:faults`: all of them, in vitest; `--only NAME`: the one of that name, told call by call. */
const args = process.argv.slice(2)
const { values } = parseArgs({ args, options: { only: { type: 'string' } }, strict: false })

if (typeof values.only === 'string') {
  const named = values.only
  const scenario = scenarios.find((s) => named.startsWith(`${s.name}/`))
  const found = scenario && (await casesOf(scenario)).find((c) => c.name === named)
  if (!found) throw new Error(`there is no case named ${named}`)
  process.exitCode = (await replay(found)) ? 0 : 1
} else {
  const vitest = ['node_modules/vitest/vitest.mjs', 'run', '--config', 'test/faults/vitest.config.ts']
  process.exitCode = spawnSync(process.execPath, [...vitest, ...args], { stdio: 'inherit' }).status ?? 1
}

async function replay({ scenario, index, way }: Case): Promise<boolean> {
  const { world, server } = scenario.begin()
  const startMs = world.clock.nowMs()
  const say = (words: string) =>
    console.log(`${((world.clock.nowMs() - startMs) / 1000).toFixed(3).padStart(9)}  ${words}`)
  const engine = makeEngine(world, (at, call) => {
    say(`${call.step}: ${call.name}${at === index ? `   <-- ${way}` : ''}`)
    return at === index ? way : null
  })
  await engine.toRest()
  const end = endOf(world, server.id)
  const violations = violationsAtRest(world)
  for (const e of world.clusters.flatMap((c) => c.events).filter((c) => c.by === 'rbdsnap'))
    console.log(
      `ceph ${((e.atMs - startMs) / 1000).toFixed(3)} ${e.op} ${e.pool}/${e.image}${e.snap === null ? '' : `@${e.snap}`}`,
    )
  console.log([`ended as: ${end}; wanted: ${scenario.ends.join(' or ')}`, ...violations].join('\n'))
  return violations.length === 0 && scenario.ends.includes(end)
}
