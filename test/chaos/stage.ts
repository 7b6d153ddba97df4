import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { demoCloud, type DemoCloud } from '../../infra/cli/demo-cloud.ts'
import { openSession, type Session } from '../../infra/cli/session.ts'
import { partsOver } from '../../infra/embedded/parts.ts'
import { defaultRules } from '../../shared/rules.ts'
import { clocksIn, type Clocks } from './clocks.ts'
import { openJournalDisk, type JournalDisk } from './disk.ts'
import { openSandboxes } from './sandboxes.ts'
import type { Victim } from './schedule.ts'

/**
 * The embedded stack with two engines on one journal: its own (serverless-offline and feeder), unless it is left out, and a second
 * feeder with the functions in processes of their own. Nothing is in the way of many runs at once, and Ceph's monitor is at 0.1 s.
 */
export interface Stage {
  session: Session
  cloud: DemoCloud
  disk: JournalDisk
  clocks: Clocks
  /** the processes that are this now; of functions those at work, if there are any */
  pidsOf: (victim: Victim) => number[]
  /** from now on every function that is started has a clock that is so much ahead; those of serverless-offline rest */
  setForward: (ms: number) => void
  close: () => Promise<void>
}

const cloudSettings = {
  RBDSNAP_CLOUD_PAXOS_PROPOSE_INTERVAL_MS: '100',
  // longer than the clock is set forward at the end
  RBDSNAP_CLOUD_TOKEN_TTL_S: '86400',
}

export async function openStage(folder: string, hasBoth: boolean, skewMs: () => number): Promise<Stage> {
  const disk = openJournalDisk(join(folder, 'journal'))
  try {
    return await openOver(disk, folder, hasBoth, skewMs)
  } catch (error) {
    disk.close()
    throw error
  }
}

async function openOver(disk: JournalDisk, folder: string, hasBoth: boolean, skewMs: () => number): Promise<Stage> {
  const clocks = clocksIn(join(folder, 'clocks'))
  for (const name of ['queue', 'cloud', 'functions', 'feeder', 'feeder 2']) clocks.set(name, 0)
  const keepCompiled = pathToFileURL(join(import.meta.dirname, 'keep-compiled.mjs')).href
  const quickStart = { NODE_COMPILE_CACHE: join(folder, 'compiled') }
  const nodeOf = (name: string) => ({
    ...quickStart,
    NODE_OPTIONS: `--import=${clocks.moduleOf(name)} --import=${keepCompiled}`,
  })
  const rulesPath = join(folder, 'rules.json')
  const unlimited = { open: 1_000_000, perHour: 1_000_000 }
  writeFileSync(rulesPath, JSON.stringify({ ...defaultRules, limits: { instance: unlimited, project: unlimited } }))
  process.env['RBDSNAP_DATA_DIR'] = join(folder, 'data')
  const session = await openSession({
    queue: nodeOf('queue'),
    cloud: { ...cloudSettings, ...nodeOf('cloud') },
    functions: {
      RBDSNAP_RULES: rulesPath,
      RBDSNAP_JOURNAL: `sqlite:${join(disk.folder, 'journal.sqlite')}`,
      ...nodeOf('functions'),
    },
    feeder: nodeOf('feeder'),
    hasEngine: hasBoth,
  })
  const { NODE_OPTIONS: _, ...env } = session.env
  let forwardMs: number | null = null
  const sandboxes = await openSandboxes({
    env,
    clocks,
    imports: [keepCompiled],
    logPath: join(folder, 'data', 'logs', 'sandboxes.log'),
    nextSkewMs: () => forwardMs ?? skewMs(),
  })
  mkdirSync(join(folder, 'second', 'logs'), { recursive: true })
  const second = partsOver(join(folder, 'second'))
  second.start('feeder', {
    ...env,
    ...nodeOf('feeder 2'),
    RBDSNAP_OFFLINE_LAMBDA_PORT: String(sandboxes.port),
    RBDSNAP_CLOUD_CONTROL_URL: session.controlUrl ?? '',
  })
  await second.said('feeder', 'feeder ready')

  function pidsOf(victim: Victim): number[] {
    if (victim === 'feeder 2') return [second.pid('feeder')]
    if (victim !== 'function') return [session.own?.pid(victim) ?? 0]
    const all = sandboxes.all().toSorted((a, b) => a.step.localeCompare(b.step))
    const busy = all.filter((box) => box.isBusy && box.isUp)
    return (busy.length > 0 ? busy : all).map(({ child }) => child.pid ?? 0)
  }

  return {
    session,
    cloud: await demoCloud(session),
    disk,
    clocks,
    pidsOf,
    setForward(ms) {
      forwardMs = ms
      if (hasBoth) process.kill(session.own?.pid('feeder') ?? NaN, 'SIGSTOP')
      for (const { child } of sandboxes.all()) child.kill('SIGKILL')
    },
    async close() {
      if (hasBoth) process.kill(session.own?.pid('feeder') ?? NaN, 'SIGCONT')
      await second.stop()
      sandboxes.close()
      await session.close()
      disk.close()
    },
  }
}
