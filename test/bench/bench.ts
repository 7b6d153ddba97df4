import { spawnSync } from 'node:child_process'
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs'
import { cpus, loadavg, tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { bareLoop, chainsOf, hopsOfLog, memoryMib, startEngine, wishes, type Engine } from './engine.ts'
import { logOf } from '../../infra/embedded/stack.ts'
import { journalCost } from './journal-cost.ts'
import { show, spreadOf } from './stats.ts'

/**
 * npm run bench [-- --runs 5000]: what docs/performance.md reports. Medians and spreads, and ratios within one run, because
 * machines are noisy; the load before and after is printed with them.
 */
const root = resolve(import.meta.dirname, '../..')
const say = (line: string) => process.stdout.write(`${line}\n`)

function bundles(): void {
  for (const file of readdirSync(join(root, 'dist')).filter((f) => f.endsWith('.mjs'))) {
    const path = join(root, 'dist', file)
    const code = `const t = performance.now(); await import(${JSON.stringify(path)}); console.log(performance.now() - t)`
    const took = Array.from({ length: 5 }, () => {
      const child = spawnSync(process.execPath, [
        '--disable-warning=ExperimentalWarning',
        '--input-type=module',
        '-e',
        code,
      ])
      return Number(child.stdout.toString())
    })
    const sizeKib = Math.round(statSync(path).size / 1024)
    say(`  ${file.padEnd(14)} ${sizeKib} KiB, loaded in ${show(spreadOf(took), 'ms')}`)
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
  say('bundles and cold start')
  bundles()
  say('journal: what one run costs it, by the number of runs in it')
  const folder = mkdtempSync(join(tmpdir(), 'rbdsnap-bench-journal-'))
  for (const line of await journalCost(join(folder, 'journal.sqlite'), [0, 10_000, 100_000])) say(`  ${line}`)
  rmSync(folder, { recursive: true })
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
