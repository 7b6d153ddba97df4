import { spawnSync } from 'node:child_process'
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs'
import { cpus, loadavg, tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { bareLoop, chainsOf, hopsOfLog, memoryMib, startEngine, wishes, type Engine } from './engine.ts'
import { logOf } from '../../infra/embedded/parts.ts'
import { view } from '../../shared/view.ts'
import { journalCost } from './journal-cost.ts'
import { show, spreadOf } from './stats.ts'

/**
 * npm run bench [-- --runs 5000]: what docs/performance.md reports. Medians and spreads, and ratios within one run, because
 * machines are noisy; the load before and after is printed with them.
 */
const root = resolve(import.meta.dirname, '../..')
const say = (line: string) => process.stdout.write(`${line}\n`)

/** What a function needs to be told before it composes itself; nothing is asked of any of these. */
const settings = {
  OS_AUTH_URL: 'http://127.0.0.1:1/v3',
  OS_USERNAME: 'bench',
  OS_PASSWORD: 'bench',
  OS_PROJECT_NAME: 'bench',
  RBDSNAP_CEPH_URLS: 'http://127.0.0.1:1',
  RBDSNAP_CEPH_FSID: '3f0d1c6e-5a7b-4c2d-9e8f-0a1b2c3d4e5f',
  RBDSNAP_CEPH_USER: 'bench',
  RBDSNAP_CEPH_PASSWORD: 'bench',
  RBDSNAP_QUEUE_PREFIX: 'http://127.0.0.1:1/rbdsnap-',
  AWS_REGION: 'us-east-1',
}

/** In a fresh process: the bundle loaded, then the first call answered, a message that is parked; settings, journal and all. */
function coldStarts(folder: string): void {
  const names = readdirSync(join(root, 'dist')).filter((f) => f.endsWith('.mjs') && f !== 'status.mjs')
  for (const file of names) {
    const path = join(root, 'dist', file)
    const code = `
      const event = { Records: [{ messageId: 'cold', body: 'x' }] }
      const context = { getRemainingTimeInMillis: () => 15000 }
      const t = performance.now()
      const { handler } = await import(${JSON.stringify(path)})
      const loaded = performance.now() - t
      process.stdout.write = () => true
      await handler(event, context)
      console.error(JSON.stringify([loaded, performance.now() - t]))`
    const env = {
      ...settings,
      PATH: process.env['PATH'] ?? '',
      RBDSNAP_JOURNAL: `sqlite:${join(folder, 'cold.sqlite')}`,
    }
    const took = Array.from({ length: 7 }, () => {
      const flags = ['--disable-warning=ExperimentalWarning', '--input-type=module', '-e', code]
      return JSON.parse(spawnSync(process.execPath, flags, { env }).stderr.toString()) as [number, number]
    })
    const sizeKib = Math.round(statSync(path).size / 1024)
    const loaded = spreadOf(took.map(([ms]) => ms))
    say(
      `  ${file.padEnd(14)} ${sizeKib} KiB, loaded ${loaded.p50} ms, first call answered ${show(spreadOf(took.map(([, ms]) => ms)), 'ms')}`,
    )
  }
}

async function hops(engine: Engine): Promise<void> {
  const [server = ''] = engine.servers
  await wishes(engine, server, (done) => done >= 3)
  const ratios: number[] = []
  for (let round = 1; round <= 5; round++) {
    const bare = spreadOf(await bareLoop(engine.session, 200))
    const runs = await wishes(engine, server, (done) => done >= 12)
    const hop = spreadOf(hopsOfLog(readFileSync(logOf(engine.session.dataDir, 'functions'), 'utf8'), runs))
    const chain = spreadOf(chainsOf(runs))
    ratios.push(hop.p50 / bare.p50)
    say(`  round ${round}: bare receive-send-delete ${show(bare, 'ms')}`)
    say(`    end to start   ${show(hop, 'ms')}; ratio ${(hop.p50 / bare.p50).toFixed(2)}`)
    say(`    note to claim  ${show(chain, 'ms')}; ratio ${(chain.p50 / bare.p50).toFixed(2)}`)
  }
  say(`  ratio of the medians: ${show(spreadOf(ratios.map((r) => r * 100)), '%')}`)
}

/** One wish after the other, warm, nothing else going on: what a tenant sees. */
async function alone(intervalMs: number): Promise<void> {
  const engine = await startEngine(1, { RBDSNAP_CLOUD_PAXOS_PROPOSE_INTERVAL_MS: String(intervalMs) })
  try {
    const [server = ''] = engine.servers
    const runs = (await wishes(engine, server, (done) => done >= 15)).slice(3).map(view)
    const usable = spreadOf(runs.map((r) => r.usable_ms ?? NaN))
    const frozen = spreadOf(runs.map((r) => r.frozen_ms ?? NaN))
    say(`  paxos_propose_interval ${intervalMs} ms: usable ${show(usable, 'ms')}; frozen ${show(frozen, 'ms')}`)
  } finally {
    await engine.close()
  }
}

async function throughput(engine: Engine, runs: number): Promise<void> {
  const before = memoryMib(engine.session)
  const samples: string[] = []
  const startedAtMs = Date.now()
  let done = 0
  const each = Math.ceil(runs / engine.servers.length)
  const sampleEvery = Math.max(1, Math.floor(runs / 5))
  await Promise.all(
    engine.servers.map((server) =>
      wishes(engine, server, (own) => {
        if (own > 0) done += 1
        if (own > 0 && done % sampleEvery === 0) {
          const perMinute = Math.round((done / (Date.now() - startedAtMs)) * 60_000)
          samples.push(
            `  after ${done} runs: ${perMinute} a minute, memory ${JSON.stringify(memoryMib(engine.session))} MiB`,
          )
          say(samples.at(-1) ?? '')
        }
        return own >= each
      }),
    ),
  )
  const minutes = (Date.now() - startedAtMs) / 60_000
  say(
    `  ${done} runs in ${(minutes * 60).toFixed(1)} s: ${Math.round(done / minutes)} a minute; memory before ${JSON.stringify(before)} MiB`,
  )
}

async function main(argv: string[]): Promise<void> {
  const at = argv.indexOf('--runs')
  const runs = at >= 0 ? Number(argv[at + 1]) : 600
  say(
    `node ${process.version}, ${cpus().length} cores (${cpus()[0]?.model ?? '?'}), load ${loadavg()
      .map((l) => l.toFixed(1))
      .join(' ')}`,
  )
  const folder = mkdtempSync(join(tmpdir(), 'rbdsnap-bench-journal-'))
  say('bundles and cold start')
  coldStarts(folder)
  say('journal: what one run costs it, by the number of runs in it')
  for (const { size, took } of await journalCost(join(folder, 'journal.sqlite'), [0, 10_000, 100_000]))
    say(`  ${String(size).padStart(6)} runs: ${show(took, 'ms')} a run`)
  rmSync(folder, { recursive: true })
  say('one run on its own')
  await alone(1_000)
  await alone(100)
  const engine = await startEngine(24)
  try {
    say('a hop against the bare queue')
    await hops(engine)
    say(`${runs} whole runs over ${engine.servers.length} servers (paxos_propose_interval 0.1 s)`)
    await throughput(engine, runs)
  } finally {
    await engine.close()
  }
  say(
    `load ${loadavg()
      .map((l) => l.toFixed(1))
      .join(' ')}`,
  )
}

await main(process.argv.slice(2))
