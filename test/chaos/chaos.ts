import { cpSync, mkdtempSync, rmSync } from 'node:fs'
import { loadavg, tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { chance } from '../support/chance.ts'
import { sweepNow, untilCalm } from './calm.ts'
import { fire, totalOf } from './fire.ts'
import { watchOutages } from './outages.ts'
import { reportOf } from './report.ts'
import { openStage } from './stage.ts'
import { startTenants } from './tenants.ts'
import { verdictOn } from './verdict.ts'
import { openWitness } from './witness.ts'
import { lookAround } from './world.ts'
import { writesOf } from './writes.ts'

/**
 * npm run chaos -- --kills 10000 --seed N [--minutes 120] [--rate 3] [--skew-ms 1000] [--open 250] [--light] [--keep]
 *
 * The embedded stack with real processes, killed at random while tenants ask for more snapshots than are done at once; then the sweep is
 * given time, and what is there is counted. `--light` leaves serverless-offline out, whose start takes seconds of a whole core. Whatever is drawn is drawn from the seed. Ends with 1 when a count is not nothing.
 */
const { values } = parseArgs({
  options: {
    kills: { type: 'string', default: '1000' },
    seed: { type: 'string', default: '1' },
    minutes: { type: 'string', default: '120' },
    rate: { type: 'string', default: '3' },
    'skew-ms': { type: 'string', default: '1000' },
    open: { type: 'string', default: '250' },
    light: { type: 'boolean', default: false },
    keep: { type: 'boolean', default: false },
  },
})
const seed = Number(values.seed)
const kills = Number(values.kills)
const skewMs = Number(values['skew-ms'])
const say = (line: string) => process.stderr.write(`${new Date().toISOString().slice(11, 19)} ${line}\n`)
const progressEveryMs = 15_000
const sweepEveryMs = 10_000

let clocksDrawn = 0
const nextSkewMs = () => Math.round((2 * chance(seed, clocksDrawn++, 40) - 1) * skewMs)

const folder = mkdtempSync(join(tmpdir(), 'rbdsnap-chaos-'))
say(
  `seed ${seed}, ${kills} kills, load ${loadavg()
    .map((l) => l.toFixed(1))
    .join(' ')}, everything in ${folder}`,
)
const stage = await openStage(folder, !values.light, nextSkewMs)
// the stack ends with this process; its small disk does not
for (const signal of ['SIGINT', 'SIGTERM'] as const)
  process.once(signal, () => {
    stage.disk.close()
    process.exit(130)
  })
try {
  const { session } = stage
  const witness = openWitness(session.dataDir)
  const outages = watchOutages([`${session.controlUrl ?? ''}/faults`, session.env['AWS_ENDPOINT_URL_SQS'] ?? ''])
  const writes = writesOf(join(stage.disk.folder, 'journal.sqlite'))
  const tenants = await startTenants(stage, seed, Number(values.open))
  const startedAtMs = Date.now()
  const sweeping = setInterval(() => void sweepNow(session), sweepEveryMs)
  const fired = { soFar: 0 }
  const telling = setInterval(() => {
    void session.journal.counts().then(
      (counts) => {
        const runs = counts.map((c) => `${c.outcome ?? `at ${c.step ?? ''}`} ${c.runs}`).join(', ')
        say(
          `${fired.soFar} kills in ${Math.round((Date.now() - startedAtMs) / 1000)} s, ${tenants.wishes.length} wishes; ${runs}`,
        )
      },
      () => undefined,
    )
  }, progressEveryMs)
  const done = await fire(stage, outages, writes, nextSkewMs, {
    seed,
    kills,
    perSecond: Number(values.rate),
    untilMs: startedAtMs + Number(values.minutes) * 60_000,
    onKill: (all) => (fired.soFar = totalOf(all)),
  })
  clearInterval(sweeping)
  clearInterval(telling)
  await tenants.stop()
  await untilCalm(stage, say)
  const world = await lookAround(stage, tenants, witness)
  const verdict = verdictOn(world, outages)
  process.stdout.write(
    `${reportOf(done, world, verdict, outages, { seed, skewMs, isNeverFull: stage.disk.isNever })}\n`,
  )
  const found: string[][] = Object.values(verdict)
  if (found.flat().length > 0) process.exitCode = 1
  writes.close()
  await outages.close()
  witness.close()
} finally {
  if (values.keep) {
    // its small disk goes with the stage
    cpSync(stage.disk.folder, join(folder, 'journal-kept'), { recursive: true })
    say(`kept: ${folder}`)
  }
  await stage.close()
  if (!values.keep) rmSync(folder, { recursive: true, force: true })
}
