import { connect } from 'amqplib'
import { randomBytes } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { startStack, type Stack } from '../../../infra/embedded/stack.ts'
import type { Lab } from '../../../infra/lab/lab.ts'
import { readBusUrl } from '../../../shared/adapters/bus-url.ts'
import { sqlite } from '../../../shared/adapters/sqlite.ts'
import type { Journal, Leases, RunRecord } from '../../../shared/ports/journal.ts'
import { defaultRules } from '../../../shared/rules.ts'
import { startDelays } from './delays.ts'
import { waitFor } from './wait.ts'

/**
 * The stack as a site runs it, on the lab's own settings: bridge, queues and functions in processes of their own. It serves some
 * projects only, so that several stories can be told on one cloud at once.
 */
export interface EngineOptions {
  /** whose wishes are served */
  projects: string[]
  /** over the lab's own settings: `RBDSNAP_...`, `OS_...` */
  settings?: Record<string, string>
  /** for `delayUpTo`; without it nothing stands between the queues and the functions */
  isDelayable?: boolean
}

export interface Engine {
  stack: Stack
  /** the bridge's own queue on the bus */
  busQueue: string
  journal: Journal
  leases: Leases
  /** From now on each function is called a random time of up to this too late; the seed is printed (support/delays.ts). */
  delayUpTo(ms: number): void
  /** the run of this image, however it ends */
  untilEnded(image: string, withinMs?: number): Promise<RunRecord>
  /** the newest run of a server once it is there, open or ended */
  untilBegun(server: string, withinMs?: number): Promise<RunRecord>
  /** Stops it, and takes its queue off the bus; its folder is kept when `isKept`, and printed. */
  stop(isKept?: boolean): Promise<void>
}

export async function startEngine(lab: Lab, options: EngineOptions): Promise<Engine> {
  const folder = mkdtempSync(join(tmpdir(), 'rbdsnap-story-'))
  const busQueue = `rbdsnap-story-${randomBytes(4).toString('hex')}`
  const site = {
    ...lab.env,
    RBDSNAP_BUS_QUEUE: busQueue,
    RBDSNAP_RULES: rulesFor(options.projects, join(folder, 'rules.json')),
    ...options.settings,
  }
  const delays = options.isDelayable === true ? await startDelays() : null
  const feeder = delays ? { RBDSNAP_OFFLINE_LAMBDA_PORT: String(delays.port) } : {}
  const stack = await startStack(folder, { site, feeder })
  delays?.leadTo(Number(stack.env['RBDSNAP_OFFLINE_LAMBDA_PORT']))
  const { journal, leases, close } = sqlite(join(folder, 'journal.sqlite'))
  return {
    stack,
    busQueue,
    journal,
    leases,
    delayUpTo(ms) {
      if (!delays) throw new Error('startEngine was not told that it isDelayable')
      delays.upTo(ms)
    },
    async untilEnded(image, withinMs = 180_000) {
      const run = await waitFor(
        `the run of image ${image} has ended`,
        () => journal.byRunOrImage(image),
        (seen) => seen !== null && seen.outcome !== null,
        withinMs,
      )
      return run!
    },
    async untilBegun(server, withinMs = 30_000) {
      const run = await waitFor(
        `server ${server} has a run`,
        () => journal.latestOf(server),
        (seen) => seen !== null,
        withinMs,
      )
      return run!
    },
    async stop(isKept = false) {
      close()
      await stack.stop()
      await delays?.close()
      await deleteQueue(lab, busQueue)
      if (isKept) process.stdout.write(`journal and logs are kept in ${folder}\n`)
      else rmSync(folder, { recursive: true, force: true })
    },
  }
}

/** The default rules for these projects alone, without limits: a story asks more often than a tenant may. */
function rulesFor(projects: string[], path: string): string {
  const rules = defaultRules.rules.map((rule) => (rule.then === 'ignore' ? rule : { ...rule, projects }))
  const unlimited = { open: 1_000, perHour: 10_000 }
  writeFileSync(path, JSON.stringify({ rules, limits: { instance: unlimited, project: unlimited } }))
  return path
}

/** The bridge's queue is durable, as a site wants it. */
async function deleteQueue(lab: Lab, name: string): Promise<void> {
  const connection = await connect(readBusUrl(lab.bus.url).urls[0] ?? '')
  try {
    const channel = await connection.createChannel()
    await channel.deleteQueue(name)
  } finally {
    await connection.close()
  }
}
