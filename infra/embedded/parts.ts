import { spawn, type ChildProcess } from 'node:child_process'
import { closeSync, existsSync, openSync, readFileSync } from 'node:fs'
import { connect } from 'node:net'
import { join, resolve } from 'node:path'
import { Failure } from '../../shared/failures.ts'

/** The stack's processes: each writes to its own log, is started again when it dies, and ends with the process that started it. */
export const embeddedParts = ['queue', 'cloud', 'functions', 'feeder'] as const
export const siteParts = ['queue', 'functions', 'feeder', 'bridge'] as const
export type Part = (typeof embeddedParts)[number] | (typeof siteParts)[number]

export interface Parts {
  start: (part: Part, env: Record<string, string>) => void
  /** until its log has these words, counted from when the stack was started */
  said: (part: Part, words: string) => Promise<void>
  listening: (part: Part, port: number) => Promise<void>
  pid: (part: Part) => number
  stop: () => Promise<void>
}

const root = resolve(import.meta.dirname, '../..')
const usuallyReadyWithinMs = 60_000
const restartAfterMs = 150
const endWithinMs = 8_000

const nodeFlags = [
  '--disable-warning=ExperimentalWarning',
  '--import',
  join(root, 'infra/embedded/die-with-parent.mjs'),
]
const programs: Record<Part, string[]> = {
  queue: [...nodeFlags, join(root, 'infra/embedded/queue.ts')],
  cloud: [...nodeFlags, join(root, 'infra/cloud/main.ts')],
  // A worker thread per function at work, each with a heap of its own: small young generations keep all of them small.
  functions: [
    ...nodeFlags,
    '--max-semi-space-size=2',
    join(root, 'node_modules/serverless/bin/serverless.js'),
    'offline',
    'start',
  ],
  feeder: [...nodeFlags, join(root, 'infra/embedded/feeder.ts')],
  bridge: [...nodeFlags, join(root, 'infra/bridge/main.ts')],
}
/** What brings messages first, so that no long poll is cut; then what it feeds. */
const endOrder: Part[] = ['bridge', 'feeder', 'functions', 'cloud', 'queue']

export function logOf(dataDir: string, part: Part): string {
  return join(dataDir, 'logs', `${part}.log`)
}

export function partsOver(dataDir: string, readyWithinMs = usuallyReadyWithinMs): Parts {
  const children = new Map<Part, ChildProcess>()
  const lengthOf = (path: string) => (existsSync(path) ? readFileSync(path, 'utf8').length : 0)
  const logStarts = new Map(endOrder.map((part) => [part, lengthOf(logOf(dataDir, part))]))
  let isStopping = false

  function start(part: Part, env: Record<string, string>): void {
    const log = openSync(logOf(dataDir, part), 'a')
    const child = spawn(process.execPath, programs[part], {
      cwd: root,
      env: {
        PATH: process.env['PATH'] ?? '',
        HOME: dataDir,
        SLS_NOTIFICATIONS_MODE: 'off',
        SLS_TELEMETRY_DISABLED: '1',
        ...env,
      },
      stdio: ['ignore', log, log, 'ipc'],
    })
    closeSync(log)
    // The channel is only there to be closed; it must not keep this process alive.
    child.channel?.unref()
    children.set(part, child)
    child.once('exit', () => {
      if (isStopping || children.get(part) !== child) return
      setTimeout(() => !isStopping && start(part, env), restartAfterMs)
    })
  }

  async function until(part: Part, isTrue: () => boolean | Promise<boolean>): Promise<void> {
    const endAtMs = Date.now() + readyWithinMs
    while (!(await isTrue())) {
      if (Date.now() > endAtMs) {
        const log = logOf(dataDir, part)
        const end = readFileSync(log, 'utf8').slice(-300)
        throw new Failure(
          'QUEUE_UNREACHABLE',
          `The stack's ${part} did not come up within ${readyWithinMs / 1000} s. Its log, ${log}, ends: ${end}`,
        )
      }
      await new Promise((done) => setTimeout(done, 25))
    }
  }

  return {
    start,
    said(part, words) {
      const path = logOf(dataDir, part)
      const from = logStarts.get(part) ?? 0
      return until(part, () => existsSync(path) && readFileSync(path, 'utf8').slice(from).includes(words))
    },
    listening: (part, port) => until(part, () => answers(port)),
    pid: (part) => children.get(part)?.pid ?? 0,
    async stop() {
      isStopping = true
      for (const part of endOrder) {
        const child = children.get(part)
        if (child) await end(child)
      }
    },
  }
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  const ended = new Promise<void>((done) => child.once('exit', () => done()))
  child.kill('SIGTERM')
  const timer = setTimeout(() => child.kill('SIGKILL'), endWithinMs)
  await ended
  clearTimeout(timer)
}

function answers(port: number): Promise<boolean> {
  return new Promise((done) => {
    const socket = connect({ host: '127.0.0.1', port })
    socket.once('connect', () => {
      socket.destroy()
      done(true)
    })
    socket.once('error', () => done(false))
  })
}
