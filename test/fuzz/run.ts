import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { fuzz, type Report } from './fuzz.ts'
import { targets } from './targets.ts'

/**
 * `npm run fuzz -- --minutes N --seed S [--target NAME]`: every target for its part of the time, or the one of that name.
 * `npm run fuzz -- --target NAME --input FILE`: one input, as it was found.
 */
const { values } = parseArgs({
  options: {
    minutes: { type: 'string', default: '5' },
    seed: { type: 'string', default: '1' },
    target: { type: 'string' },
    input: { type: 'string' },
  },
})
const names = values.target === undefined ? Object.keys(targets) : [values.target]
for (const name of names) if (!targets[name]) throw new Error(`no target ${name}: ${Object.keys(targets).join(', ')}`)

if (values.input === undefined) process.exitCode = (await all()) ? 0 : 1
else console.log(`it holds: ${await targets[names[0] ?? '']?.().feed(readFileSync(values.input, 'utf8'))}`)
// what outlives its input (a login that others wait for) is not waited for
process.exit()

async function all(): Promise<boolean> {
  const eachMs = (Number(values.minutes) * 60_000) / names.length
  const reports: Report[] = []
  for (const name of names) {
    const target = targets[name]?.()
    if (!target) continue
    const report = await fuzz(target, { seed: Number(values.seed), executions: Infinity, untilMs: Date.now() + eachMs })
    reports.push(report)
    tell(report)
  }
  return reports.every(({ broken }) => broken === null)
}

function tell({ target, executions, blocks, knownBlocks, kept, ends, broken }: Report): void {
  const counts = `${executions} executions, ${blocks} of ${knownBlocks} blocks, ${kept} inputs kept, ${ends} ends`
  console.log(`${target.padEnd(14)} ${counts}${broken ? ', BROKEN' : ''}`)
  if (!broken) return
  const file = join(mkdtempSync(join(tmpdir(), 'rbdsnap-fuzz-')), 'input')
  writeFileSync(file, broken.input)
  console.log(`  ${broken.words.slice(0, 2_000)}`)
  console.log(`  ${JSON.stringify(broken.input).slice(0, 2_000)}`)
  console.log(`  again: npm run fuzz -- --target ${target} --input ${file}`)
}
