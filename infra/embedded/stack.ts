import { spawn, type ChildProcess } from 'node:child_process'
import { closeSync, existsSync, mkdirSync, openSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { connect, createServer, type AddressInfo } from 'node:net'
import { join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { readConfig } from '../../shared/config.ts'
import { Failure } from '../../shared/failures.ts'
import { ensureBundles } from './bundles.ts'
import { queuePrefix } from './queue.ts'

/**
 * The embedded stack: four processes on 127.0.0.1 over one data folder, each started again when it dies.
 *
 *   queue      SQS (fauxqs), its messages in DATA/queue
 *   cloud      Keystone, Glance, Nova, Ceph and the guests, in DATA/cloud
 *   functions  serverless-offline with the bundles in dist/
 *   feeder     bus -> first queue, and queues -> functions
 *
 * The journal is DATA/journal.sqlite. Everything that matters is on disk: killing any of them, or all, and starting again goes
 * on where it was. When the process that started the stack dies, the four end themselves (die-with-parent.mjs).
 */
export const parts = ['queue', 'cloud', 'functions', 'feeder'] as const
export type Part = (typeof parts)[number]

export interface Stack {
  dataDir: string
  /** the configuration that the functions run with */
  env: Record<string, string>
  controlUrl: string
  statusUrl: string
  pid: (part: Part) => number
  stop: () => Promise<void>
}

const root = resolve(fileURLToPath(import.meta.url), '../../..')
const readyWithinMs = 60_000
const restartAfterMs = 150

/** Starts the stack over `dataDir`. @throws Failure BAD_REQUEST when one is running there already */
export async function startStack(
  dataDir: string,
  options: { cloud?: Record<string, string>; functions?: Record<string, string> } = {},
): Promise<Stack> {
  mkdirSync(join(dataDir, 'logs'), { recursive: true })
  takeLock(dataDir)
  ensureBundles()
  const [queue = 0, http = 0, lambda = 0, ...cloud] = await freePorts(3 + cloudServices.length)
  const state: State = { dataDir, isStopping: false, children: new Map(), logStarts: logLengths(dataDir) }

  const queueEnv = { RBDSNAP_EMBEDDED_QUEUE_PORT: String(queue), RBDSNAP_EMBEDDED_QUEUE_DIR: join(dataDir, 'queue') }
  const sqsEnv = {
    AWS_ENDPOINT_URL_SQS: `http://127.0.0.1:${queue}`,
    AWS_REGION: 'us-east-1',
    AWS_ACCESS_KEY_ID: 'embedded',
    AWS_SECRET_ACCESS_KEY: 'embedded',
    RBDSNAP_QUEUE_PREFIX: queuePrefix(`http://127.0.0.1:${queue}`),
    RBDSNAP_OFFLINE_HTTP_PORT: String(http),
    RBDSNAP_OFFLINE_LAMBDA_PORT: String(lambda),
  }
  run(state, 'queue', queueEnv)
  run(state, 'cloud', { ...cloudEnv(dataDir, cloud), ...options.cloud })
  try {
    await Promise.all([said(state, 'queue', 'queue ready'), said(state, 'cloud', 'embedded cloud ready')])
    const described = JSON.parse(readFileSync(join(dataDir, 'cloud', 'cloud.json'), 'utf8')) as Described
    const env = {
      ...described.env,
      ...chosenByThePerson(),
      ...sqsEnv,
      RBDSNAP_JOURNAL: `sqlite:${join(dataDir, 'journal.sqlite')}`,
      ...options.functions,
    }
    // Said here, all at once, and not by every function on its own.
    readConfig(env)
    run(state, 'functions', env)
    run(state, 'feeder', { ...env, RBDSNAP_CLOUD_CONTROL_URL: described.urls.control })
    await Promise.all([listening(state, lambda), said(state, 'feeder', 'feeder ready')])
    const stack: Stack = {
      dataDir,
      env,
      controlUrl: described.urls.control,
      statusUrl: `http://127.0.0.1:${http}/status`,
      pid: (part) => state.children.get(part)?.pid ?? 0,
      stop: () => stop(state),
    }
    describe(stack)
    return stack
  } catch (error) {
    await stop(state)
    throw error
  }
}

/** What a person may set for the embedded stack as well; the rest is the stack's own. */
const choices = ['RBDSNAP_RULES', 'RBDSNAP_FREEZE_BUDGET_MS', 'RBDSNAP_FLATTENS_AT_ONCE']

function chosenByThePerson(): Record<string, string> {
  return Object.fromEntries(choices.flatMap((name) => (process.env[name] ? [[name, process.env[name]]] : [])))
}

interface Described {
  env: Record<string, string>
  urls: { control: string }
}
interface State {
  dataDir: string
  isStopping: boolean
  children: Map<Part, ChildProcess>
  /** where each log stood when the stack was started: what is waited for must come after */
  logStarts: Map<Part, number>
}

/** A stack that another process keeps running over the same folder, as far as a client needs it; null when there is none. */
export function runningStack(dataDir: string): Pick<Stack, 'env' | 'controlUrl' | 'statusUrl'> | null {
  const path = join(dataDir, 'stack.json')
  if (ownerOf(dataDir) === null || !existsSync(path)) return null
  return JSON.parse(readFileSync(path, 'utf8')) as Pick<Stack, 'env' | 'controlUrl' | 'statusUrl'>
}

function describe({ dataDir, env, controlUrl, statusUrl }: Stack): void {
  const path = join(dataDir, 'stack.json')
  writeFileSync(`${path}.new`, JSON.stringify({ env, controlUrl, statusUrl }), { mode: 0o600 })
  renameSync(`${path}.new`, path)
}

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
}

function run(state: State, part: Part, env: Record<string, string>): void {
  const log = openSync(logOf(state.dataDir, part), 'a')
  const child = spawn(process.execPath, programs[part], {
    cwd: root,
    env: {
      PATH: process.env['PATH'] ?? '',
      HOME: state.dataDir,
      SLS_NOTIFICATIONS_MODE: 'off',
      SLS_TELEMETRY_DISABLED: '1',
      ...env,
    },
    stdio: ['ignore', log, log, 'ipc'],
  })
  closeSync(log)
  // The channel is only there to be closed; it must not keep this process alive.
  child.channel?.unref()
  state.children.set(part, child)
  child.once('exit', () => {
    if (state.isStopping || state.children.get(part) !== child) return
    setTimeout(() => !state.isStopping && run(state, part, env), restartAfterMs)
  })
}

async function stop(state: State): Promise<void> {
  state.isStopping = true
  // The feeder first, so that no long poll is cut; then what it feeds.
  for (const part of ['feeder', 'functions', 'cloud', 'queue'] as const) {
    const child = state.children.get(part)
    if (child) await end(child)
  }
  rmSync(join(state.dataDir, 'stack.json'), { force: true })
  rmSync(join(state.dataDir, 'stack.pid'), { force: true })
}

const endWithinMs = 8_000
async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  const ended = new Promise<void>((done) => child.once('exit', () => done()))
  child.kill('SIGTERM')
  const timer = setTimeout(() => child.kill('SIGKILL'), endWithinMs)
  await ended
  clearTimeout(timer)
}

/** The embedded cloud's services, as infra/cloud/main.ts names their ports. */
const cloudServices = ['KEYSTONE', 'GLANCE', 'GLANCE_INTERNAL', 'NOVA', 'DASHBOARD_X', 'DASHBOARD_Y', 'CONTROL', 'RBD']

function cloudEnv(dataDir: string, ports: number[]): Record<string, string> {
  const named = cloudServices.map((service, i) => [`RBDSNAP_CLOUD_PORT_${service}`, String(ports[i])])
  return { RBDSNAP_CLOUD_DATA_DIR: join(dataDir, 'cloud'), ...(Object.fromEntries(named) as Record<string, string>) }
}

export function logOf(dataDir: string, part: Part): string {
  return join(dataDir, 'logs', `${part}.log`)
}

function logLengths(dataDir: string): Map<Part, number> {
  const lengthOf = (path: string) => (existsSync(path) ? readFileSync(path, 'utf8').length : 0)
  return new Map(parts.map((part) => [part, lengthOf(logOf(dataDir, part))]))
}

async function said(state: State, part: Part, words: string): Promise<void> {
  const path = logOf(state.dataDir, part)
  const from = state.logStarts.get(part) ?? 0
  await until(part, state.dataDir, () => existsSync(path) && readFileSync(path, 'utf8').slice(from).includes(words))
}

async function listening(state: State, port: number): Promise<void> {
  const isUp = () =>
    new Promise<boolean>((done) => {
      const socket = connect({ host: '127.0.0.1', port })
      socket.once('connect', () => {
        socket.destroy()
        done(true)
      })
      socket.once('error', () => done(false))
    })
  await until('functions', state.dataDir, isUp)
}

async function until(part: Part, dataDir: string, isTrue: () => boolean | Promise<boolean>): Promise<void> {
  const endAtMs = Date.now() + readyWithinMs
  while (!(await isTrue())) {
    if (Date.now() > endAtMs) {
      const log = logOf(dataDir, part)
      const end = readFileSync(log, 'utf8').slice(-300)
      throw new Failure(
        'QUEUE_UNREACHABLE',
        `The embedded ${part} did not come up within ${readyWithinMs / 1000} s. Its log, ${log}, ends: ${end}`,
      )
    }
    await new Promise((done) => setTimeout(done, 25))
  }
}

function takeLock(dataDir: string): void {
  const owner = ownerOf(dataDir)
  if (owner !== null) {
    throw new Failure('BAD_REQUEST', `a stack is running over ${dataDir} already (process ${owner}).`)
  }
  writeFileSync(join(dataDir, 'stack.pid'), `${process.pid} ${bornAt(process.pid) ?? ''}`)
}

function ownerOf(dataDir: string): number | null {
  const path = join(dataDir, 'stack.pid')
  if (!existsSync(path)) return null
  const [first = '', born = ''] = readFileSync(path, 'utf8').split(' ')
  const pid = Number(first)
  if (!Number.isInteger(pid) || pid <= 0 || pid === process.pid) return null
  try {
    process.kill(pid, 0)
  } catch {
    return null
  }
  return born === (bornAt(pid) ?? '') ? pid : null
}

/**
 * Tells a process from another one that was given its number later, also after a reboot: which boot, and when in it
 * (proc_pid_stat(5), field 22; the name in field 2 may have blanks and brackets). Null where there is no /proc.
 */
function bornAt(pid: number): string | null {
  try {
    const afterName = readFileSync(`/proc/${pid}/stat`, 'utf8').replace(/^.*\)/s, '').trim().split(' ')
    return `${readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim()}/${afterName[19] ?? ''}`
  } catch {
    return null
  }
}

async function freePorts(count: number): Promise<number[]> {
  const servers = await Promise.all(
    Array.from({ length: count }, async () => {
      const server = createServer()
      await new Promise<void>((done) => server.listen(0, '127.0.0.1', done))
      return server
    }),
  )
  const ports = servers.map((server) => (server.address() as AddressInfo).port)
  await Promise.all(servers.map((server) => new Promise((done) => server.close(done))))
  return ports
}
