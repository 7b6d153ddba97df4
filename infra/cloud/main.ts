import { createHash } from 'node:crypto'
import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { openCluster } from './cluster.ts'
import { startControl } from './control.ts'
import { startDashboards } from './dashboard.ts'
import { glanceService } from './glance-service.ts'
import { rbdStore } from './glance-store.ts'
import { startGlance } from './glance.ts'
import { openGuests } from './guests.ts'
import { faultList } from './http.ts'
import { startKeystone } from './keystone.ts'
import { loadGauge } from './load.ts'
import { novaCore, type NovaChange } from './nova-core.ts'
import type { NotificationFormat } from './notifications.ts'
import { startNova } from './nova.ts'
import { serveRbd } from './rbd-endpoint.ts'
import { openRecords } from './records.ts'
import { serverFactory } from './servers.ts'
import { projects, seedWorld } from './world.ts'

const services = ['keystone', 'glance', 'glanceInternal', 'nova', 'dashboardX', 'dashboardY', 'control', 'rbd'] as const
type Ports = Record<(typeof services)[number], number>

export interface CloudOptions {
  dataDir: string
  /** 0 or absent: the port of the last start with this dataDir, else any free one */
  ports?: Partial<Ports>
  /** 1000 as in a stock Ceph; 0: snapshots are made and removed at once */
  paxosProposeIntervalMs?: number
  cloneFormat?: 1 | 2
  tokenTtlS?: number
  /** how long a killed Ceph manager is missed before the standby takes over */
  takeoverMs?: number
  failoverMs?: number
  respawnMs?: number
  /** a dashboard call that takes longer answers 202 */
  heldMs?: number
  glanceLatencyMs?: number
  /** between two heartbeats of a guest */
  beatMs?: number
  /** of every user but the service user */
  password?: string
  servicePassword?: string
  nova?: NovaChange
}

const region = 'RegionOne'
const fsids = { a: '3f0d1c6e-5a7b-4c2d-9e8f-0a1b2c3d4e5f', b: '8b2e4d6f-1c3a-4b5d-8f7e-9a0b1c2d3e4f' }
const rbdImage = ['create', 'delete', 'read', 'update']

/** An OpenStack with two Ceph clusters on 127.0.0.1. Everything that it keeps is in `dataDir` and survives kill -9. */
export async function startCloud(options: CloudOptions) {
  const dataDir = resolve(options.dataDir)
  const { paxosProposeIntervalMs = 1000, cloneFormat = 1, password = 'lab', servicePassword = 'lab' } = options
  mkdirSync(dataDir, { recursive: true })
  const last = lastUrls(dataDir)
  const ports = { ...portsOf(last), ...options.ports }
  const port = (name: keyof Ports) => ports[name] ?? 0
  const faults = faultList()
  const load = { ceph: loadGauge(), glance: loadGauge() }
  const records = openRecords(join(dataDir, 'openstack.db'))

  const cluster = (letter: 'a' | 'b', pools: string[]) =>
    openCluster({
      dataDir: join(dataDir, `ceph-${letter}`),
      fsid: fsids[letter],
      pools,
      paxosProposeIntervalMs,
      cloneFormat,
    })
  const clusters = { a: cluster('a', ['vms', 'images']), b: cluster('b', ['vms']) }
  const guestsFolder = socketFolder(dataDir)
  const guests = openGuests({
    records,
    clusters,
    folder: guestsFolder,
    ...(options.beatMs === undefined ? {} : { beatMs: options.beatMs }),
  })
  const glance = glanceService(records, rbdStore(clusters.a, 'images', join(dataDir, 'glance-spool')))
  const nova = novaCore({
    records,
    clusters,
    glance,
    guests,
    snapshotsFolder: join(dataDir, 'nova-snapshots'),
    defaults: options.nova ?? {},
  })

  // Keystone answers first: whoever asks it then, and keeps what it said, must not be told of services without an address
  const urls = { image: last['glance'] ?? '', imageInternal: last['glanceInternal'] ?? '', compute: last['nova'] ?? '' }
  const keystone = await startKeystone({
    records,
    port: port('keystone'),
    faults,
    region,
    tokenTtlMs: (options.tokenTtlS ?? 3600) * 1000,
    catalog: () => ({
      identity: { name: 'keystone', public: keystone.url, internal: keystone.url },
      image: { name: 'glance', public: urls.image, internal: urls.imageInternal },
      compute: { name: 'nova', public: urls.compute, internal: urls.compute },
    }),
  })
  const factory = serverFactory(nova, projects.admin)
  await seedWorld({ records, people: keystone.people, nova, factory, password, servicePassword })

  const glanceOn = (endpoint: 'public' | 'internal', at: number) =>
    startGlance({
      service: glance,
      endpoint,
      port: at,
      faults,
      load: load.glance,
      latencyMs: options.glanceLatencyMs ?? 0,
      authUrl: keystone.url,
      validate: keystone.validator(),
    })
  const glancePublic = await glanceOn('public', port('glance'))
  const glanceInternal = await glanceOn('internal', port('glanceInternal'))
  const compute = await startNova({
    nova,
    port: port('nova'),
    faults,
    authUrl: keystone.url,
    glanceUrl: glancePublic.url,
    validate: keystone.validator(),
  })
  Object.assign(urls, { image: glancePublic.url, imageInternal: glanceInternal.url, compute: compute.url })

  const dashboards = await startDashboards({
    cluster: clusters.a,
    ports: [port('dashboardX'), port('dashboardY')],
    faults,
    load: load.ceph,
    users: [
      { name: 'gate', password: servicePassword, scopes: { 'rbd-image': rbdImage } },
      { name: 'reader', password, scopes: { 'rbd-image': ['read'] } },
    ],
    dataDir: join(dataDir, 'ceph-a'),
    takeoverMs: options.takeoverMs ?? 33_000,
    ...(options.failoverMs === undefined ? {} : { failoverMs: options.failoverMs }),
    ...(options.respawnMs === undefined ? {} : { respawnMs: options.respawnMs }),
    ...(options.heldMs === undefined ? {} : { heldMs: options.heldMs }),
  })
  const confs = { a: join(dataDir, 'ceph-a.conf'), b: join(dataDir, 'ceph-b.conf') }
  const rbd = await serveRbd({
    clusters: { [confs.a]: clusters.a, [confs.b]: clusters.b },
    tasks: dashboards.tasks,
    port: port('rbd'),
    faults,
  })
  for (const letter of ['a', 'b'] as const)
    writeWhole(confs[letter], `[global]\nfsid = ${fsids[letter]}\nmon_host = 127.0.0.1:${String(rbd.port)}\n`)
  const control = await startControl({ port: port('control'), faults, load, nova, factory, dashboards })

  const all = {
    keystone: keystone.url,
    glance: glancePublic.url,
    glanceInternal: glanceInternal.url,
    nova: compute.url,
    dashboardX: dashboards.urls[0] ?? '',
    dashboardY: dashboards.urls[1] ?? '',
    rbd: `http://127.0.0.1:${String(rbd.port)}`,
    control: `http://127.0.0.1:${String(control.port)}`,
  }
  const env: Record<string, string> = {
    OS_AUTH_URL: keystone.url,
    OS_USERNAME: 'rbdsnap',
    OS_PASSWORD: servicePassword,
    OS_PROJECT_NAME: 'service',
    OS_USER_DOMAIN_NAME: 'Default',
    OS_PROJECT_DOMAIN_NAME: 'Default',
    OS_REGION_NAME: region,
    RBDSNAP_CEPH_URLS: dashboards.urls.join(','),
    RBDSNAP_CEPH_FSID: fsids.a,
    RBDSNAP_CEPH_USER: 'gate',
    RBDSNAP_CEPH_PASSWORD: servicePassword,
    RBDSNAP_NOVA_POOL: 'vms',
    RBDSNAP_GLANCE_POOL: 'images',
    RBDSNAP_RBD_COMMAND: `${process.execPath} ${join(import.meta.dirname, 'rbd-command.ts')}`,
    RBDSNAP_RBD_CONF: confs.a,
    RBDSNAP_RBD_OTHER_CONFS: confs.b,
    RBDSNAP_GUEST: 'socket',
    RBDSNAP_GUEST_SOCKET: join(guestsFolder, '{instance}.sock'),
  }
  writeWhole(join(dataDir, 'cloud.json'), `${JSON.stringify({ urls: all, env }, null, 2)}\n`)

  return {
    urls: all,
    env,
    faults,
    clusters,
    dashboards,
    rbd,
    nova,
    glance,
    guests,
    factory,
    async close() {
      nova.close()
      guests.close()
      glance.close()
      await Promise.all(
        [keystone, glancePublic, glanceInternal, compute, dashboards, rbd, control].map((s) => s.close()),
      )
      for (const letter of ['a', 'b'] as const) clusters[letter].close()
      records.close()
    },
  }
}
export type Cloud = Awaited<ReturnType<typeof startCloud>>

/** A unix socket's path has at most 107 bytes (unix(7)): under a long folder the sockets live in a short one of its own. */
function socketFolder(dataDir: string): string {
  const folder = join(dataDir, 'guests')
  const name = `/${'0'.repeat(36)}.sock`
  if (Buffer.byteLength(folder + name) <= 107) return folder
  return join(tmpdir(), `rbdsnap-${createHash('sha256').update(dataDir).digest('hex').slice(0, 12)}`)
}

/** Killed in the middle of it, the file is as it was before. */
function writeWhole(path: string, text: string): void {
  writeFileSync(`${path}.new`, text)
  renameSync(`${path}.new`, path)
}

/** Whoever talks to the cloud finds it at the same place after a restart. */
function lastUrls(dataDir: string): Record<string, string> {
  try {
    return (JSON.parse(readFileSync(join(dataDir, 'cloud.json'), 'utf8')) as { urls: Record<string, string> }).urls
  } catch {
    return {}
  }
}

function portsOf(urls: Record<string, string>): Partial<Ports> {
  return Object.fromEntries(services.flatMap((name) => (urls[name] ? [[name, Number(new URL(urls[name]).port)]] : [])))
}

function optionsFromEnvironment(env: Record<string, string | undefined>): CloudOptions {
  const number = (name: string) => (env[name] === undefined ? undefined : Number(env[name]))
  const given = <T>(name: string, value: T | undefined) => (value === undefined ? {} : { [name]: value })
  const format = env['RBDSNAP_CLOUD_NOTIFICATION_FORMAT'] as NotificationFormat | undefined
  const ports = services.flatMap((name) => {
    const value = number(`RBDSNAP_CLOUD_PORT_${name.replace(/[A-Z]/g, '_$&').toUpperCase()}`)
    return value === undefined ? [] : [[name, value] as const]
  })
  return {
    dataDir: env['RBDSNAP_CLOUD_DATA_DIR'] ?? 'cloud-data',
    ports: Object.fromEntries(ports),
    ...given('paxosProposeIntervalMs', number('RBDSNAP_CLOUD_PAXOS_PROPOSE_INTERVAL_MS')),
    ...given('cloneFormat', number('RBDSNAP_CLOUD_CLONE_FORMAT')),
    ...given('tokenTtlS', number('RBDSNAP_CLOUD_TOKEN_TTL_S')),
    ...given('takeoverMs', number('RBDSNAP_CLOUD_TAKEOVER_MS')),
    ...given('failoverMs', number('RBDSNAP_CLOUD_FAILOVER_MS')),
    ...given('respawnMs', number('RBDSNAP_CLOUD_RESPAWN_MS')),
    ...given('heldMs', number('RBDSNAP_CLOUD_HELD_MS')),
    ...given('glanceLatencyMs', number('RBDSNAP_CLOUD_GLANCE_LATENCY_MS')),
    ...given('beatMs', number('RBDSNAP_CLOUD_BEAT_MS')),
    ...given('password', env['RBDSNAP_CLOUD_PASSWORD']),
    ...given('servicePassword', env['RBDSNAP_CLOUD_SERVICE_PASSWORD']),
    ...(format === undefined ? {} : { nova: { notificationFormat: format } }),
  }
}

if (import.meta.main) {
  const cloud = await startCloud(optionsFromEnvironment(process.env))
  for (const signal of ['SIGINT', 'SIGTERM'] as const)
    process.once(signal, () => void cloud.close().then(() => process.exit(0)))
  console.log(`embedded cloud ready: keystone ${cloud.urls.keystone}, control ${cloud.urls.control}`)
}
