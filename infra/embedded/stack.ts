import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { readBridgeConfig, readConfig } from '../../shared/config.ts'
import { ensureBundles } from './bundles.ts'
import { leaveLock, ownerOf, takeLock } from './lock.ts'
import { partsOver, type Part, type Parts } from './parts.ts'
import { freePorts } from './ports.ts'
import { queuePrefix } from './queue.ts'
import { belongsTo } from './works-on.ts'

/**
 * The stack: four processes on this machine over one data folder, each started again when it dies.
 *
 *   queue      SQS (fauxqs), its messages in DATA/queue
 *   functions  serverless-offline with the bundles in dist/
 *   feeder     queues -> functions
 *   cloud      embedded: Keystone, Glance, Nova, Ceph and the guests, in DATA/cloud; its bus is read by the feeder
 *   bridge     or, on a site: from Nova's RabbitMQ to the first queue
 *
 * The journal is DATA/journal.sqlite, logs are in DATA/logs. Everything that matters is on disk: killing any of them, or all, and
 * starting again goes on where it was. When the process that started the stack dies, the four end themselves (die-with-parent.mjs).
 */
export interface Stack {
  dataDir: string
  /** the configuration that the functions run with */
  env: Record<string, string>
  /** the embedded cloud's back door; null on a site */
  controlUrl: string | null
  statusUrl: string
  pid: (part: Part) => number
  stop: () => Promise<void>
}

/** What a client of a running stack needs of it. */
export type StackAddress = Pick<Stack, 'env' | 'controlUrl' | 'statusUrl'>

export interface StackOptions {
  /** the settings of a real cloud (shared/config.ts, the bridge's among them); without them the embedded cloud is started */
  site?: Record<string, string>
  /** for the embedded cloud's process */
  cloud?: Record<string, string>
  /** for the functions, above all else */
  functions?: Record<string, string>
  /** for the queue's process */
  queue?: Record<string, string>
  /** false: queue and cloud alone; whoever starts them brings functions and a feeder of his own */
  hasEngine?: boolean
  /** for the feeder's process, above all else: whoever stands between the queues and the functions */
  feeder?: Record<string, string>
  /** how long a part may take to come up: longer on a machine that others load */
  readyWithinMs?: number
}

/** Starts the stack over `dataDir`. @throws Failure BAD_REQUEST when one is running there already, or the folder is another cloud's; BAD_SETTING */
export async function startStack(dataDir: string, options: StackOptions = {}): Promise<Stack> {
  mkdirSync(join(dataDir, 'logs'), { recursive: true })
  takeLock(dataDir)
  const parts = partsOver(dataDir, options.readyWithinMs)
  const stop = async () => {
    await parts.stop()
    rmSync(join(dataDir, 'stack.json'), { force: true })
    leaveLock(dataDir)
  }
  try {
    ensureBundles()
    const [queue = 0, http = 0, lambda = 0, ...cloud] = await freePorts(3 + cloudServices.length)
    const ownEnv = {
      AWS_ENDPOINT_URL_SQS: `http://127.0.0.1:${queue}`,
      AWS_REGION: 'us-east-1',
      AWS_ACCESS_KEY_ID: 'embedded',
      AWS_SECRET_ACCESS_KEY: 'embedded',
      RBDSNAP_QUEUE_PREFIX: queuePrefix(`http://127.0.0.1:${queue}`),
      RBDSNAP_OFFLINE_HTTP_PORT: String(http),
      RBDSNAP_OFFLINE_LAMBDA_PORT: String(lambda),
      RBDSNAP_JOURNAL: `sqlite:${join(dataDir, 'journal.sqlite')}`,
      ...options.functions,
    }
    const { env, controlUrl } = options.site
      ? readSite(dataDir, { ...options.site, ...ownEnv })
      : await startCloud(dataDir, parts, { ...cloudEnv(dataDir, cloud), ...options.cloud }, ownEnv)
    parts.start('queue', {
      RBDSNAP_EMBEDDED_QUEUE_PORT: String(queue),
      RBDSNAP_EMBEDDED_QUEUE_DIR: join(dataDir, 'queue'),
      ...options.queue,
    })
    const isQueueReady = parts.said('queue', 'queue ready')
    if (options.hasEngine !== false)
      await startEngine(parts, env, { lambdaPort: lambda, isQueueReady, controlUrl, feederEnv: options.feeder })
    await isQueueReady
    const stack = { dataDir, env, controlUrl, statusUrl: `http://127.0.0.1:${http}/status`, pid: parts.pid, stop }
    describe(stack)
    return stack
  } catch (error) {
    await stop()
    throw error
  }
}

/** Functions and what feeds them; on a site also what fills the first queue, as the feeder does from the embedded cloud's bus. */
async function startEngine(
  parts: Parts,
  env: Record<string, string>,
  how: {
    lambdaPort: number
    isQueueReady: Promise<void>
    controlUrl: string | null
    feederEnv: Record<string, string> | undefined
  },
): Promise<void> {
  const { controlUrl } = how
  parts.start('functions', env)
  await Promise.all([how.isQueueReady, parts.listening('functions', how.lambdaPort)])
  parts.start('feeder', {
    ...env,
    ...(controlUrl === null ? {} : { RBDSNAP_CLOUD_CONTROL_URL: controlUrl }),
    ...how.feederEnv,
  })
  if (controlUrl === null) parts.start('bridge', env)
  await Promise.all([
    parts.said('feeder', 'feeder ready'),
    ...(controlUrl === null ? [parts.said('bridge', 'bridge ready')] : []),
  ])
}

/** A stack that another process keeps running over the same folder; null when there is none. */
export function runningStack(dataDir: string): StackAddress | null {
  const path = join(dataDir, 'stack.json')
  if (ownerOf(dataDir) === null || !existsSync(path)) return null
  return JSON.parse(readFileSync(path, 'utf8')) as StackAddress
}

function describe({ dataDir, env, controlUrl, statusUrl }: Stack): void {
  const path = join(dataDir, 'stack.json')
  writeFileSync(`${path}.new`, JSON.stringify({ env, controlUrl, statusUrl }), { mode: 0o600 })
  renameSync(`${path}.new`, path)
}

/** Wrong settings are said here, all at once, and not by every process on its own. */
function readSite(dataDir: string, env: Record<string, string>) {
  const { RBDSNAP_CEPH_FSID } = readConfig(env)
  readBridgeConfig(env)
  belongsTo(dataDir, RBDSNAP_CEPH_FSID)
  return { env, controlUrl: null }
}

async function startCloud(
  dataDir: string,
  parts: Parts,
  cloudSettings: Record<string, string>,
  ownEnv: Record<string, string>,
) {
  belongsTo(dataDir, null)
  parts.start('cloud', cloudSettings)
  await parts.said('cloud', 'embedded cloud ready')
  const described = JSON.parse(readFileSync(join(dataDir, 'cloud', 'cloud.json'), 'utf8')) as Described
  const env = { ...described.env, ...chosenByThePerson(), ...ownEnv }
  readConfig(env)
  return { env, controlUrl: described.urls.control }
}

interface Described {
  env: Record<string, string>
  urls: { control: string }
}

/** What a person may set for the embedded cloud as well; the rest is the stack's own. */
const choices = ['RBDSNAP_RULES', 'RBDSNAP_FREEZE_BUDGET_MS', 'RBDSNAP_FLATTENS_AT_ONCE']

function chosenByThePerson(): Record<string, string> {
  return Object.fromEntries(choices.flatMap((name) => (process.env[name] ? [[name, process.env[name]]] : [])))
}

/** The embedded cloud's services, as infra/cloud/main.ts names their ports. */
const cloudServices = ['KEYSTONE', 'GLANCE', 'GLANCE_INTERNAL', 'NOVA', 'DASHBOARD_X', 'DASHBOARD_Y', 'CONTROL', 'RBD']

function cloudEnv(dataDir: string, ports: number[]): Record<string, string> {
  const named = cloudServices.map((service, i) => [`RBDSNAP_CLOUD_PORT_${service}`, String(ports[i])])
  return { RBDSNAP_CLOUD_DATA_DIR: join(dataDir, 'cloud'), ...(Object.fromEntries(named) as Record<string, string>) }
}
