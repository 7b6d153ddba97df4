import { randomUUID } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Cluster } from '../../infra/cloud/cluster.ts'
import type { Fault } from '../../infra/cloud/http.ts'
import type { Cloud } from '../../infra/cloud/main.ts'
import { cephDashboard, type DashboardOptions } from '../../shared/adapters/ceph-dashboard.ts'
import { commandFacts, dashboardFacts } from '../../shared/adapters/ceph-facts.ts'
import { rbdReader } from '../../shared/adapters/rbd-reader.ts'
import { rbdVolumes } from '../../shared/adapters/rbd.ts'
import type { RbdImage, Volumes } from '../../shared/ports/volumes.ts'
import { homeCluster } from '../../shared/step.ts'
import { clock, setting, takeover } from './embedded-cloud.ts'
import type { FactsWorld } from './facts.contract.ts'
import type { ReaderWorld } from './reader.contract.ts'
import type { VolumesWorld } from './volumes.contract.ts'

const mebibyte = 1024 * 1024
const diskBytes = 64 * mebibyte
const patience = { everyMs: 20, settleMs: 200 }
const clonable = ['layering', 'exclusive-lock', 'object-map', 'fast-diff', 'deep-flatten']

/** Everything but the adapter: the hands of somebody else. */
function hands(cluster: Cluster): Omit<VolumesWorld, 'volumes' | 'close'> {
  let written = 0
  const fill = (image: RbdImage, object: number) => {
    written += 1
    const bytes = Buffer.alloc(8192, `${String(written)} ${image.image}`)
    cluster.write(image.pool, image.image, object * 4 * mebibyte, bytes)
  }
  return {
    pools: { disks: 'vms', images: 'images' },
    fsid: cluster.fsid,
    async makeDisk({ hasLayering = true } = {}) {
      const image = { pool: 'vms', image: `${randomUUID()}_disk` }
      const features = clonable.filter((name) => hasLayering || name !== 'layering')
      cluster.create(image.pool, image.image, diskBytes, features)
      for (const object of [0, 3, 7, 15]) fill(image, object)
      return image
    },
    write: async (image) => fill(image, 3),
    fingerprint: async (thing) => cluster.fingerprint(thing.pool, thing.image, 'snap' in thing ? thing.snap : null),
    names: async (pool) => cluster.images(pool),
    async snaps({ pool, image }) {
      return cluster.info(pool, image).snaps.map(({ name, isProtected }) => ({ name, isProtected }))
    },
    async parentOf({ pool, image }) {
      const { parent } = cluster.info(pool, image)
      return parent && { pool: parent.pool, image: parent.image, snap: parent.snap }
    },
    async snapshot({ pool, image, snap }, isProtected = false) {
      await cluster.snapCreate(pool, image, snap)
      if (isProtected) cluster.snapProtect(pool, image, snap)
    },
    clone: async (source, child) => cluster.clone(source, child, clonable),
    flatten: ({ pool, image }) => cluster.flatten(pool, image),
    leaveHalfMade: async (source, child, form) => cluster.clone(source, child, clonable, form),
    async hold({ pool, image }) {
      cluster.addWatcher(pool, image, 'test')
      return { release: async () => cluster.removeWatcher(pool, image, 'test') }
    },
  }
}

async function fillUp(cluster: Cluster) {
  cluster.setFull('images', true)
  return { release: async () => cluster.setFull('images', false) }
}

type Called = Parameters<NonNullable<VolumesWorld['cutOff']>>[0]

/** The calls by what they do, as the dashboard and as librbd have them. */
const dashboardCalls: Record<Called, Pick<Fault, 'method' | 'path'>> = {
  snapshot: { method: 'POST', path: '/snap$' },
  protect: { method: 'PUT', path: '/snap/' },
  clone: { method: 'POST', path: '/clone$' },
  flatten: { method: 'POST', path: '/flatten$' },
  remove: { method: 'DELETE', path: '/image/[^/]+/[^/]+$' },
}
const librbdCalls: Record<Called, string> = {
  snapshot: '^/snap-create$',
  protect: '^/snap-protect$',
  clone: '^/clone$',
  flatten: '^/flatten$',
  remove: '^/remove$',
}

function hang({ faults }: Cloud, service: string) {
  faults.add({ service, when: 'before', does: { is: 'hang' }, times: 1 })
  return { callOff: faults.clear }
}

const cephCommand = [process.execPath, join(import.meta.dirname, '../../infra/cloud/ceph-command.ts')]

/** RBD through the dashboard of two managers, and with `ceph` its flattens as their tasks. */
export function dashboardWorld(cloud: Cloud, has: { ceph?: true } = {}): VolumesWorld {
  const { faults, dashboards } = cloud
  const cluster = cloud.clusters.a
  const options = {
    urls: setting(cloud, 'RBDSNAP_CEPH_URLS').split(','),
    user: setting(cloud, 'RBDSNAP_CEPH_USER'),
    password: setting(cloud, 'RBDSNAP_CEPH_PASSWORD'),
    fsid: setting(cloud, 'RBDSNAP_CEPH_FSID'),
    clock,
    patience,
    ...(has.ceph ? { ceph: { command: cephCommand, conf: setting(cloud, 'RBDSNAP_RBD_CONF'), user: 'rbdsnap' } } : {}),
  }
  /** Clone format 2: a snapshot that is removed below its clone goes to the trash, and the dashboard shows its image no more. */
  async function hide({ pool, image }: RbdImage) {
    await cluster.snapCreate(pool, image, 'parent')
    cluster.clone({ pool, image, snap: 'parent' }, { pool, image: randomUUID() }, clonable)
    await cluster.snapRemove(pool, image, 'parent')
  }
  function standbyFirst(): string[] {
    const [x = '', y = ''] = options.urls
    return dashboards.active() === 'x' ? [y, x] : [x, y]
  }
  return {
    ...hands(cluster),
    volumes: cephDashboard(options),
    cutOff: (what, when) =>
      faults.add({ service: 'dashboard', ...dashboardCalls[what], when, does: { is: 'drop' }, times: 1 }),
    hang: () => hang(cloud, 'dashboard'),
    slowDown: dashboards.slow,
    ...(has.ceph ? { keepsFlattens: true } : {}),
    async killGateway() {
      dashboards.killActive()
      await sleep(takeover.takeoverMs + takeover.respawnMs)
    },
    async failOver() {
      dashboards.failover()
      await sleep(takeover.failoverMs / 2)
    },
    atStandby: () => cephDashboard({ ...options, urls: standbyFirst() }),
    killInClone: (halfMadeClone) => dashboards.killActive({ halfMadeClone }),
    fillUp: () => fillUp(cluster),
    voidTokens: () => dashboards.setUserEnabled(options.user, true),
    withWrongPassword: () => cephDashboard({ ...options, password: 'wrong' }),
    withSmallRole: () => cephDashboard({ ...options, user: 'reader', password: 'lab' }),
    unserved: () => unserved(options),
    switchOff: () =>
      faults.add({ service: 'dashboard', path: '/block/image', when: 'before', does: featureOff, times: 1 }),
    hideOnce: () =>
      faults.add({
        service: 'dashboard',
        method: 'GET',
        path: '/block/image',
        when: 'before',
        does: snapRemovedMeanwhile,
        times: 1,
      }),
    ...(cluster.cloneFormat === 2 ? { hide } : {}),
    close: async () => faults.clear(),
  }
}

export const featureOff = {
  is: 'answer',
  status: 404,
  headers: { 'content-type': 'application/json' },
  body: { status: '404 Not Found', detail: "Feature='rbd' disabled by option 'FEATURE_TOGGLE_rbd'" },
} as const

/** What GET says of an image when one of its snapshots goes while the manager lists them. */
export const snapRemovedMeanwhile = {
  is: 'answer',
  status: 404,
  headers: { 'content-type': 'application/json' },
  body: { status: '404 Not Found', detail: 'Image not found' },
} as const

/** A port that refuses, and a dashboard's own, addressed by https where it speaks http. */
export function unserved(options: DashboardOptions): { volumes: Volumes; names: RegExp } {
  const urls = ['http://127.0.0.1:59999', (options.urls[0] ?? '').replace('http:', 'https:')]
  return {
    volumes: cephDashboard({ ...options, urls }),
    names: /127\.0\.0\.1:59999: ECONNREFUSED.*does not speak https/,
  }
}

/** The processes that this one has started with one of the words in their command line. */
export function killChildren(...words: string[]): void {
  const children = readFileSync(`/proc/self/task/${String(process.pid)}/children`, 'utf8')
    .trim()
    .split(' ')
  for (const pid of children.filter(Boolean)) {
    const commandLine = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0')
    if (words.some((word) => commandLine.includes(word))) process.kill(Number(pid), 'SIGKILL')
  }
}

function commandOf(cloud: Cloud) {
  return { command: setting(cloud, 'RBDSNAP_RBD_COMMAND').split(' '), user: 'rbdsnap' }
}

/** RBD through the command line; with `ceph` its flattens are the managers' tasks. */
export function commandWorld(cloud: Cloud, has: { ceph?: true } = {}): VolumesWorld {
  const { faults } = cloud
  const cluster = cloud.clusters.a
  const conf = setting(cloud, 'RBDSNAP_RBD_CONF')
  const ceph = has.ceph ? { ceph: cephCommand } : {}
  return {
    ...hands(cluster),
    volumes: rbdVolumes({ ...commandOf(cloud), conf, patience, heldMs: 400, ...ceph }),
    ...(has.ceph ? { fillUp: () => fillUp(cluster) } : {}),
    cutOff: (what, when) =>
      faults.add({ service: 'rbd', path: librbdCalls[what], when, does: { is: 'drop' }, times: 1 }),
    hang: () => hang(cloud, 'rbd'),
    trash: async ({ pool, image }) => cloud.clusters.a.trash.move(pool, image, 0),
    removeBelowClone: ({ pool, image, snap }) => cluster.snapRemove(pool, image, snap),
    withoutConf: () => rbdVolumes({ ...commandOf(cloud), conf: `${conf}.none` }),
    slowDown: cloud.rbd.slow,
    killGateway: async () => killChildren('flatten', 'cp'),
    close: async () => faults.clear(),
  }
}

export function readerWorld(cloud: Cloud): ReaderWorld {
  const { a, b } = cloud.clusters
  const confs = { [homeCluster]: setting(cloud, 'RBDSNAP_RBD_CONF'), other: setting(cloud, 'RBDSNAP_RBD_OTHER_CONFS') }
  return {
    reader: rbdReader({ ...commandOf(cloud), confs }),
    clusters: { home: homeCluster, other: 'other' },
    async makeSnapshot(of) {
      const cluster = of === 'other' ? b : a
      const world = hands(cluster)
      const snap = { ...(await world.makeDisk()), snap: 's' }
      await world.snapshot(snap)
      const bytes = cluster.read(snap.pool, snap.image, snap.snap, 0, diskBytes)
      await world.write(snap)
      return { snap, bytes }
    },
    cutOff: () => cloud.faults.add({ service: 'rbd', path: '^/read$', when: 'before', does: { is: 'drop' }, times: 1 }),
    close: async () => cloud.faults.clear(),
  }
}

export function dashboardFactsWorld(cloud: Cloud): FactsWorld {
  const cluster = cloud.clusters.a
  const urls = setting(cloud, 'RBDSNAP_CEPH_URLS').split(',')
  const password = setting(cloud, 'RBDSNAP_CEPH_PASSWORD')
  return {
    facts: dashboardFacts({ urls, user: setting(cloud, 'RBDSNAP_CEPH_USER'), password, clock }),
    small: dashboardFacts({ urls, user: 'reader', password: 'lab', clock }),
    ...hands(cluster),
    cloneFormat: cluster.cloneFormat,
    isSilentOn: ['fsid'],
    close: async () => undefined,
  }
}

export function commandFactsWorld(cloud: Cloud, has: { ceph: boolean }): FactsWorld {
  const cluster = cloud.clusters.a
  const conf = setting(cloud, 'RBDSNAP_RBD_CONF')
  return {
    facts: commandFacts({ ...commandOf(cloud), conf, ceph: has.ceph ? cephCommand : null }),
    small: null,
    ...hands(cluster),
    cloneFormat: cluster.cloneFormat,
    isSilentOn: has.ceph ? [] : ['version', 'fsid', 'cloneFormat'],
    close: async () => undefined,
  }
}
