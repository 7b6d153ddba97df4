import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { cpus, loadavg, tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { logOf } from '../../infra/embedded/parts.ts'
import { besides, cephAtOnce } from '../../shared/pipeline.ts'
import { defaultRules } from '../../shared/rules.ts'
import { memoryMib, startEngine, type Engine } from './engine.ts'
import { journalCost } from './journal-cost.ts'
import { spreadOf, type Spread } from './stats.ts'
import { figuresOf, type Figures } from './storm-figures.ts'
import { askAll, buildScene, largeProject, type Scene } from './storm-scene.ts'
import {
  budgetMs,
  endedOf,
  freezesOf,
  keepFreezing,
  watchUntilOver,
  type Load,
  type Sample,
  type Stood,
} from './storm-watch.ts'

/**
 * npm run storm [-- --wishes 1000 --instances 300]: everybody wants a snapshot at once, on the whole embedded stack. Prints what
 * docs/performance.md reports, holds it against the bounds, and ends with 1 when one is broken. Ends by itself, whatever happens.
 */
const { values: given } = parseArgs({
  options: {
    wishes: { type: 'string', default: '1000' },
    instances: { type: 'string', default: '300' },
    /** of Ceph's monitor; 1000 in a stock Ceph */
    'paxos-ms': { type: 'string', default: '100' },
    /** runs in the journal, for what one costs it; 0: not looked at */
    history: { type: 'string', default: '100000' },
    /** after which it ends whatever is left */
    minutes: { type: 'string' },
    /** with the limits that come by default: most of the wishes are turned away */
    limits: { type: 'boolean', default: false },
  },
})
const wishes = Number(given.wishes)
const instances = Number(given.instances)
/** A wish takes a tenth of a second; the slowest machine that was seen took four times as long. */
const mostMs = given.minutes === undefined ? 120_000 + wishes * 400 : Number(given.minutes) * 60_000

/** The queue rounds a delay up to a second, and is asked again after two at most (infra/embedded/poller.ts). */
const queuePeriodMs = 3_000
const mostFrozenMs = budgetMs + queuePeriodMs
/** `ingest` and `sweep` hold no place, and talk to Glance as well. */
const glanceAtOnce = cephAtOnce + besides.ingest.parallel + besides.sweep.parallel
/** The slowest of the small projects waits for no more than this part of what is usual for the large one. */
const mostUnfair = 0.25
/** of the usual pace, while two uploads take a part of the machine */
const leastBesideUploads = 0.3
/** The embedded cloud grows with what is kept in it; fauxqs, which stands for SQS, gives back nothing of what V8 once took for it. */
const flatParts = ['functions', 'feeder']
const mostGrowth = 1.3
const mostJournalGrowth = 1.5

/** As many as functions may be at work at once, and a run each for every one of them to be needed. */
const warmServers = 24
const warmUpMs = 300_000

const broken: string[] = []
const say = (line: string) => process.stdout.write(`${line}\n`)
const load = () => loadavg().map((l) => l.toFixed(1)).join(' ') // prettier-ignore
const show = (s: Spread) => `p50 ${s.p50} ms, p99 ${s.p99}, ${s.least}-${s.most} (n=${s.n})`

function bound(what: string, isKept: boolean): void {
  say(`  ${isKept ? 'kept  ' : 'BROKEN'} ${what}`)
  if (!isKept) broken.push(what)
}

async function storm(): Promise<void> {
  const cloud = {
    RBDSNAP_CLOUD_PAXOS_PROPOSE_INTERVAL_MS: given['paxos-ms'],
    // Else Glance answers in the same breath, and never two at once.
    RBDSNAP_CLOUD_GLANCE_LATENCY_MS: '20',
    RBDSNAP_CLOUD_BEAT_MS: String(instances * 10),
  }
  const engine = await startEngine(warmServers, cloud, given.limits ? defaultRules.limits : undefined)
  try {
    const scene = await buildScene(engine, instances, wishes)
    await warmUp(engine)
    await report(engine, scene)
  } finally {
    await engine.close()
  }
}

/** Cold functions are what the first runs after a start pay for, and no part of a storm. */
async function warmUp(engine: Engine): Promise<void> {
  const servers = engine.servers.map((id) => ({ id, project: largeProject, wishes: 2 }))
  const before = await endedOf(engine)
  await askAll(engine, servers)
  await watchUntilOver(engine, before, 2 * servers.length, Date.now() + warmUpMs)
}

async function report(engine: Engine, scene: Scene): Promise<void> {
  await engine.cloud.control('DELETE', '/load')
  const atStart = memoryMib(engine.session)
  const guard = keepFreezing(engine, scene.guards)
  const startedAtMs = Date.now()
  const before = await endedOf(engine)
  const askedAtMs = await askAll(engine, scene.servers)
  say(`  ${wishes} wishes of ${instances} servers asked for in ${Date.now() - startedAtMs} ms; load ${load()}`)
  const samples = await watchUntilOver(engine, before, wishes, startedAtMs + mostMs)
  await guard.stop()

  const runs = (await engine.session.journal.list(2 * wishes)).filter((r) => askedAtMs.has(r.wish.instance))
  const figures = figuresOf(runs, askedAtMs)
  const { ceph, glance } = await engine.cloud.control<{ ceph: Load; glance: Load }>('GET', '/load')
  const stood = await freezesOf(engine, startedAtMs)
  sayFigures(figures)
  say(
    `  most at once: ${ceph.most} calls to Ceph's manager (of ${ceph.calls}), ${glance.most} to Glance (of ${glance.calls})`,
  )
  checkRuns(runs.length, figures)
  bound(`at most ${cephAtOnce} calls at once to the manager: ${ceph.most}`, ceph.most <= cephAtOnce)
  bound(`at most ${glanceAtOnce} calls at once to Glance: ${glance.most}`, glance.most <= glanceAtOnce)
  checkFreezes(stood, new Set(scene.guards), readFileSync(logOf(engine.session.dataDir, 'functions'), 'utf8'))
  checkMemory(atStart, samples)
  say(`  load ${load()}`)
}

function sayFigures({ outcomes, verdicts, runsPerMinute, usableMs, usableMsOfSmall, usableMsOfLarge }: Figures): void {
  say(`  ${runsPerMinute} runs a minute; ${JSON.stringify(outcomes)}, ${JSON.stringify(verdicts)}`)
  say(`  usable, of all:       ${show(spreadOf(usableMs))}`)
  say(`  of the large project: ${show(spreadOf(usableMsOfLarge))}`)
  say(`  of the small ones:    ${show(spreadOf(usableMsOfSmall))}`)
}

function checkRuns(runs: number, { outcomes, usableMsOfSmall, usableMsOfLarge, ...figures }: Figures): void {
  bound(`one run for each of ${wishes} wishes: ${runs}`, runs === wishes)
  const ended = (outcomes['active'] ?? 0) + (outcomes['fallback'] ?? 0)
  if (given.limits) {
    bound(`each made or turned away`, ended + (outcomes['rejected'] ?? 0) === wishes)
    return
  }
  bound(`each has its image: ${ended}`, ended === wishes)
  const figure = spreadOf(usableMsOfSmall).most / spreadOf(usableMsOfLarge).p50
  bound(
    `the slowest of the small ones within ${mostUnfair} of the large one's median: ${figure.toFixed(2)}`,
    figure <= mostUnfair,
  )
  if (figures.uploads === 0) return
  const { besideUploads, otherwise } = figures.clonesPerMinute
  bound(
    `clones go on beside ${figures.uploads} uploads: ${besideUploads} a minute, ${otherwise} otherwise`,
    besideUploads >= otherwise * leastBesideUploads,
  )
}

function checkFreezes(stood: Stood[], guards: Set<string>, log: string): void {
  const of = (isGuard: boolean) => stood.filter((s) => guards.has(s.instance) === isGuard).map((s) => s.lastedMs)
  const guarded = spreadOf(of(true))
  say(`  guests stood still for a snapshot: ${show(spreadOf(of(false)))}`)
  say(`  and with nobody but the dead man:  ${show(guarded)}`)
  const most = Math.max(...stood.map((s) => s.lastedMs))
  bound(`no guest stood still for more than ${mostFrozenMs} ms: ${most}`, most <= mostFrozenMs)
  bound(`the dead man was needed, and came: ${guarded.n} times`, guarded.p50 > budgetMs - 1_000)
  for (const s of stood.filter(({ lastedMs }) => lastedMs > mostFrozenMs)) sayHow(s, log)
}

/** What the functions did for a guest that stood still for too long, around that time. */
function sayHow({ instance, fromMs, lastedMs }: Stood, log: string): void {
  say(`    ${instance} for ${lastedMs} ms`)
  const lines = log.split('\n').filter((line) => line.startsWith('{"at"') && line.includes(instance))
  for (const { step, says, code, words, started_ms, ms } of lines.map((line) => JSON.parse(line) as LogLine)) {
    if (started_ms + ms < fromMs - 2_000 || started_ms > fromMs + lastedMs + 2_000) continue
    const [startedMs, tookMs] = [started_ms - fromMs, ms].map(Math.round)
    say(`      at ${String(startedMs)} ms, for ${String(tookMs)} ms: ${step} ${says} ${code ?? ''} ${words ?? ''}`)
  }
}
interface LogLine {
  step: string
  says: string
  code?: string
  words?: string
  started_ms: number
  ms: number
}

/** From when a tenth of the runs had ended: every function was at work by then, and keeps its isolate. */
function checkMemory(atStart: Record<string, number>, samples: Sample[]): void {
  const warm = samples.find((s) => s.ended >= wishes / 10)
  const last = samples.at(-1)
  if (!warm || !last) return bound('memory was looked at', false)
  for (const [part, mib] of Object.entries(atStart)) {
    const then = warm.memoryMib[part] ?? 0
    const most = Math.max(...samples.map((s) => s.memoryMib[part] ?? 0))
    const end = last.memoryMib[part] ?? 0
    say(`  memory of ${part.padEnd(9)} ${mib} MiB before, ${then} after a tenth, ${most} at most, ${end} at the end`)
    if (flatParts.includes(part)) bound(`${part} is flat`, end <= then * mostGrowth)
  }
}

async function history(): Promise<void> {
  const most = Number(given.history)
  if (most === 0) return
  const folder = mkdtempSync(join(tmpdir(), 'rbdsnap-storm-journal-'))
  const costs = await journalCost(join(folder, 'journal.sqlite'), [0, most / 10, most])
  rmSync(folder, { recursive: true })
  say('what one run costs the journal, by the number of runs in it')
  for (const { size, took } of costs) say(`  ${String(size).padStart(6)} runs: ${show(took)}`)
  const growth = (costs.at(-1)?.took.p50 ?? NaN) / (costs[0]?.took.p50 ?? NaN)
  bound(`${most} runs of history make a run ${growth.toFixed(2)} times as dear`, growth <= mostJournalGrowth)
}

say(`node ${process.version}, ${cpus().length} cores (${cpus()[0]?.model ?? '?'}), load ${load()}`)
say(`${wishes} wishes at once over ${instances} servers, paxos_propose_interval ${given['paxos-ms']} ms`)
await storm()
await history()
if (broken.length > 0) say(`BROKEN: ${broken.join('; ')}`)
process.exitCode = broken.length > 0 ? 1 : 0
