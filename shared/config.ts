import { readFileSync } from 'node:fs'
import * as z from 'zod/mini'
import { Failure } from './failures.ts'
import { defaultRules, rulesSchema, type Rules } from './rules.ts'

/**
 * The environment, parsed once. An empty variable counts as not set, because serverless.yml hands every name on. Everything
 * that is wrong is said in one failure, by the variable's name and never by its value.
 */
const text = z.string().check(z.minLength(1))
/** `user:password@` in one is refused by fetch, with the whole URL in its words. */
const url = z
  .url({ protocol: /^https?$/, error: 'must be an http or https URL' })
  .check(z.refine((at) => !hasCredentials(at), { error: 'must have no user and no password in it' }))
const whole = (least: number, most: number) => {
  const error = `must be a whole number from ${least} to ${most}`
  return z.coerce.number({ error }).check(z.int({ error }), z.gte(least, { error }), z.lte(most, { error }))
}
const oneOf = <const T extends [string, ...string[]]>(...these: T) =>
  z.enum(these, { error: `must be ${these.join(' or ')}` })
const busUrl = text.check(
  z.regex(/^(rabbit|kombu|amqps?):\/\/[^/]/, {
    error: "must be Nova's transport_url: rabbit://USER:PASSWORD@HOST:5672/",
  }),
)
const listOf = (item: z.ZodMiniType<string, string>) =>
  z.pipe(
    z.pipe(
      z.string(),
      z.transform((v: string) => v.split(',').map((part) => part.trim())),
    ),
    z.array(item),
  )

const schema = z.object({
  OS_AUTH_URL: url,
  OS_USERNAME: z.optional(text),
  OS_PASSWORD: z.optional(text),
  OS_PROJECT_ID: z.optional(text),
  OS_PROJECT_NAME: z.optional(text),
  OS_USER_DOMAIN_ID: z.optional(text),
  OS_PROJECT_DOMAIN_ID: z.optional(text),
  OS_USER_DOMAIN_NAME: z._default(text, 'Default'),
  OS_PROJECT_DOMAIN_NAME: z._default(text, 'Default'),
  OS_APPLICATION_CREDENTIAL_ID: z.optional(text),
  OS_APPLICATION_CREDENTIAL_SECRET: z.optional(text),
  OS_REGION_NAME: z.optional(text),
  OS_INTERFACE: z._default(oneOf('public', 'internal', 'admin'), 'internal'),
  RBDSNAP_CEPH_GATEWAY: z._default(oneOf('dashboard', 'rbd'), 'dashboard'),
  RBDSNAP_CEPH_URLS: z._default(listOf(url), []),
  RBDSNAP_CEPH_FSID: z.guid({ error: "must be the cluster's id: `ceph fsid`" }),
  RBDSNAP_CEPH_USER: z._default(text, ''),
  RBDSNAP_CEPH_PASSWORD: z._default(text, ''),
  RBDSNAP_CEPH_COMMAND: z.optional(text),
  RBDSNAP_NOVA_POOL: z._default(text, 'vms'),
  RBDSNAP_GLANCE_POOL: z._default(text, 'images'),
  RBDSNAP_RBD_COMMAND: z._default(text, 'rbd'),
  RBDSNAP_RBD_USER: z.optional(text),
  RBDSNAP_RBD_CONF: z._default(text, '/etc/ceph/ceph.conf'),
  RBDSNAP_RBD_OTHER_CONFS: z._default(listOf(text), []),
  RBDSNAP_UPLOAD_FORMAT: z._default(oneOf('raw', 'qcow2'), 'raw'),
  RBDSNAP_SNAPSHOTS_DIRECTORY: z.optional(text),
  RBDSNAP_QEMU_IMG_COMMAND: z._default(text, 'qemu-img'),
  RBDSNAP_GUEST: z._default(oneOf('nova-rpc', 'libvirt', 'pause', 'socket'), 'nova-rpc'),
  RBDSNAP_BUS_URL: z.optional(busUrl),
  RBDSNAP_BUS_CA: z.optional(text),
  RBDSNAP_BUS_EXCHANGE: z._default(text, 'nova'),
  RBDSNAP_RPC_URL: z.optional(busUrl),
  RBDSNAP_LIBVIRT_URI: z.optional(text),
  RBDSNAP_GUEST_SOCKET: z._default(
    text.check(z.includes('{instance}', { error: 'must say where {instance} goes' })),
    '/var/lib/libvirt/qemu/channel/target/{instance}/org.qemu.guest_agent.0',
  ),
  RBDSNAP_FREEZE_BUDGET_MS: z._default(whole(1_000, 30_000), 5_000),
  RBDSNAP_FLATTENS_AT_ONCE: z._default(whole(1, 64), 4),
  RBDSNAP_RULES: z.optional(text),
  RBDSNAP_JOURNAL: text.check(z.regex(/^sqlite:./, { error: 'must be sqlite:PATH' })),
  RBDSNAP_QUEUE_PREFIX: url,
})

export type Config = z.infer<typeof schema> & { rules: Rules }

export const settingNames = Object.keys(schema.shape)

/** Nova's notifications on the bus. */
const busShape = {
  RBDSNAP_BUS_URL: text,
  RBDSNAP_BUS_CA: z.optional(text),
  RBDSNAP_BUS_EXCHANGE: z._default(text, 'nova'),
  RBDSNAP_BUS_TOPICS: z._default(listOf(text), ['versioned_notifications', 'notifications']),
  RBDSNAP_BUS_QUEUE: z._default(text, 'rbdsnap'),
}
const busSchema = z.object(busShape)
/** The bridge (infra/bridge) needs to know nothing of Ceph or Keystone. */
const bridgeSchema = z.object({ ...busShape, RBDSNAP_QUEUE_PREFIX: url })

export type BusConfig = z.infer<typeof busSchema>
export type BridgeConfig = z.infer<typeof bridgeSchema>

export const bridgeSettingNames = Object.keys(bridgeSchema.shape)

/** @throws Failure BAD_SETTING, naming every setting that is missing or wrong */
export function readBridgeConfig(env: Record<string, string | undefined>): BridgeConfig {
  return readAll(bridgeSchema, env)
}

/** @throws Failure BAD_SETTING, naming every setting that is missing or wrong */
export function readBusConfig(env: Record<string, string | undefined>): BusConfig {
  return readAll(busSchema, env)
}

function readAll<T extends z.ZodMiniObject>(schema: T, env: Record<string, string | undefined>): z.infer<T> {
  const set = thoseSet(env, schema.shape)
  const parsed = z.safeParse(schema, set)
  if (parsed.success) return parsed.data
  throw new Failure(
    'BAD_SETTING',
    parsed.error.issues.map((i) => `${i.path.join('.')}: ${sayWrong(set, i)}`).join('; '),
  )
}

/** @throws Failure BAD_SETTING, naming every setting that is missing or wrong */
export function readConfig(env: Record<string, string | undefined>): Config {
  const { config, wrong } = readSettings(env)
  if (wrong.length > 0) throw new Failure('BAD_SETTING', wrong.join('; '))
  return config as Config
}

/** What can be read, and a line `NAME: words` for each setting that cannot: for whoever goes on with the rest. */
export function readSettings(env: Record<string, string | undefined>): { config: Partial<Config>; wrong: string[] } {
  const set = thoseSet(env, schema.shape)
  const parsed = z.safeParse(schema, set)
  const wrong = parsed.success ? [] : parsed.error.issues.map((i) => `${i.path.join('.')}: ${sayWrong(set, i)}`)
  wrong.push(...credentialsMissing(set), ...dashboardMissing(set), ...directoryMissing(set), ...guestMissing(set))
  const rules = tryRules(set['RBDSNAP_RULES'])
  if ('wrong' in rules) wrong.push(rules.wrong)
  const names = new Set(wrong.map((line) => line.split(/[.:]/)[0]))
  const rest = Object.fromEntries(Object.entries(set).filter(([name]) => !names.has(name)))
  const config = z.parse(z.partial(schema), rest)
  return { config: { ...config, ...('wrong' in rules ? {} : rules) } as Partial<Config>, wrong: [...new Set(wrong)] }
}

function hasCredentials(at: string): boolean {
  if (!URL.canParse(at)) return false
  const { username, password } = new URL(at)
  return username !== '' || password !== ''
}

function thoseSet(env: Record<string, string | undefined>, shape: object): Record<string, string | undefined> {
  return Object.fromEntries(Object.entries(env).filter(([name, value]) => name in shape && value !== ''))
}

function sayWrong(set: Record<string, string | undefined>, issue: { path: PropertyKey[]; message: string }): string {
  return set[String(issue.path[0])] === undefined ? 'is not set' : issue.message
}

function credentialsMissing(set: Record<string, string | undefined>): string[] {
  const has = (name: string) => set[name] !== undefined
  if (has('OS_APPLICATION_CREDENTIAL_ID') || has('OS_APPLICATION_CREDENTIAL_SECRET')) {
    const both = ['OS_APPLICATION_CREDENTIAL_ID', 'OS_APPLICATION_CREDENTIAL_SECRET']
    return both.filter((name) => !has(name)).map((name) => `${name}: is not set`)
  }
  return ['OS_USERNAME', 'OS_PASSWORD', ...(has('OS_PROJECT_ID') ? [] : ['OS_PROJECT_NAME'])]
    .filter((name) => !has(name))
    .map((name) => `${name}: is not set`)
}

function directoryMissing(set: Record<string, string | undefined>): string[] {
  const isMissing = set['RBDSNAP_UPLOAD_FORMAT'] === 'qcow2' && set['RBDSNAP_SNAPSHOTS_DIRECTORY'] === undefined
  return isMissing ? ['RBDSNAP_SNAPSHOTS_DIRECTORY: is not set'] : []
}

/** What the chosen way to the guests cannot do without. */
function guestMissing(set: Record<string, string | undefined>): string[] {
  const way = set['RBDSNAP_GUEST'] ?? 'nova-rpc'
  const bus = set['RBDSNAP_RPC_URL'] ?? set['RBDSNAP_BUS_URL']
  if (way === 'nova-rpc' && bus === undefined) return ['RBDSNAP_BUS_URL: is not set']
  if (way === 'libvirt' && set['RBDSNAP_LIBVIRT_URI'] === undefined) return ['RBDSNAP_LIBVIRT_URI: is not set']
  return []
}

function dashboardMissing(set: Record<string, string | undefined>): string[] {
  if (set['RBDSNAP_CEPH_GATEWAY'] === 'rbd') return []
  return ['RBDSNAP_CEPH_URLS', 'RBDSNAP_CEPH_USER', 'RBDSNAP_CEPH_PASSWORD']
    .filter((name) => set[name] === undefined)
    .map((name) => `${name}: is not set`)
}

/** The rules at `path`, the default ones without it. @throws Failure BAD_SETTING */
export function readRules(path: string | undefined): Rules {
  const read = tryRules(path)
  if ('wrong' in read) throw new Failure('BAD_SETTING', read.wrong)
  return read.rules
}

function tryRules(path: string | undefined): { rules: Rules } | { wrong: string } {
  if (path === undefined) return { rules: defaultRules }
  try {
    const parsed = z.safeParse(rulesSchema, JSON.parse(readFileSync(path, 'utf8')))
    if (parsed.success) return { rules: parsed.data }
    return { wrong: `RBDSNAP_RULES: ${parsed.error.issues.map((i) => `${i.path.join('.')}: ${i.message}`).join(', ')}` }
  } catch (error) {
    // V8 quotes the text around the fault, and it may be another file than was meant, with a password in it
    const why = error instanceof SyntaxError ? 'it is not JSON' : (error as Error).message
    return { wrong: `RBDSNAP_RULES: ${path} cannot be read: ${why}` }
  }
}
