import { randomUUID } from 'node:crypto'
import { appendFileSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Cluster, openCluster } from '../../infra/cloud/cluster.ts'
import { startDashboards } from '../../infra/cloud/dashboard.ts'
import { type Fault, faultList } from '../../infra/cloud/http.ts'
import { serveRbd } from '../../infra/cloud/rbd-endpoint.ts'
import { cephDashboard } from '../../shared/adapters/ceph-dashboard.ts'
import { rbdVolumes } from '../../shared/adapters/rbd.ts'
import type { RbdImage, RbdSnap } from '../../shared/ports/volumes.ts'
import type { VolumesWorld } from './volumes.contract.ts'

const mebibyte = 1024 * 1024
const gateway = { name: 'gate', password: 'lab', scopes: { 'rbd-image': ['read', 'create', 'update', 'delete'] } }
const patience = { everyMs: 20, settleMs: 200 }
const clock = { nowMs: () => Date.now() }
const clonable = ['layering', 'exclusive-lock', 'object-map', 'fast-diff', 'deep-flatten']

export function openTestCluster(cloneFormat: 1 | 2) {
  const folder = mkdtempSync(join(tmpdir(), 'rbdsnap-contract-'))
  const fsid = randomUUID()
  const pools = ['vms', 'images']
  const conf = join(folder, 'ceph.conf')
  writeFileSync(conf, `[global]\nfsid = ${fsid}\n`)
  const cluster = openCluster({ dataDir: join(folder, 'ceph'), fsid, pools, paxosProposeIntervalMs: 20, cloneFormat })
  return {
    cluster,
    conf,
    folder,
    close() {
      cluster.close()
      rmSync(folder, { recursive: true, force: true })
    },
  }
}

/** Everything but the adapter: the hands of somebody else. */
function hands(cluster: Cluster): Omit<VolumesWorld, 'volumes' | 'close'> {
  let written = 0
  const fill = (image: RbdImage, object: number) => {
    written += 1
    cluster.write(
      image.pool,
      image.image,
      object * 4 * mebibyte,
      Buffer.alloc(8192, `${String(written)} ${image.image}`),
    )
  }
  return {
    pools: { disks: 'vms', images: 'images' },
    fsid: cluster.fsid,
    async makeDisk({ hasLayering = true } = {}) {
      const image = { pool: 'vms', image: `${randomUUID()}_disk` }
      const features = clonable.filter((name) => hasLayering || name !== 'layering')
      cluster.create(image.pool, image.image, 1024 * mebibyte, features)
      for (const object of [0, 3, 100, 255]) fill(image, object)
      return image
    },
    async write(image) {
      fill(image, 3)
    },
    fingerprint: async (thing) => cluster.fingerprint(thing.pool, thing.image, 'snap' in thing ? thing.snap : null),
    names: async (pool) => cluster.images(pool),
    snaps: async ({ pool, image }) =>
      cluster.info(pool, image).snaps.map(({ name, isProtected }) => ({ name, isProtected })),
    async parentOf({ pool, image }) {
      const { parent } = cluster.info(pool, image)
      return parent && { pool: parent.pool, image: parent.image, snap: parent.snap }
    },
    snapshot: ({ pool, image, snap }) => cluster.snapCreate(pool, image, snap),
    async clone(source, child) {
      cluster.clone(source, child, clonable)
    },
    flatten: ({ pool, image }) => cluster.flatten(pool, image),
    async leaveHalfMade(source, child, form) {
      cluster.clone(source, child, clonable, form)
    },
    async hold({ pool, image }) {
      cluster.addWatcher(pool, image, 'test')
      return { release: async () => cluster.removeWatcher(pool, image, 'test') }
    },
  }
}

/** The dashboard's calls by what they do. */
const dashboardCalls: Record<string, Pick<Fault, 'method' | 'path'>> = {
  snapshot: { method: 'POST', path: '/snap$' },
  protect: { method: 'PUT', path: '/snap/' },
  clone: { method: 'POST', path: '/clone$' },
  flatten: { method: 'POST', path: '/flatten$' },
  remove: { method: 'DELETE', path: '/image/[^/]+/[^/]+$' },
}

/** RBD through the dashboard of two managers. */
export async function dashboardWorld(cloneFormat: 1 | 2 = 1) {
  const { cluster, folder, close } = openTestCluster(cloneFormat)
  const faults = faultList()
  const dashboards = await startDashboards({
    cluster,
    ports: [0, 0],
    faults,
    users: [gateway],
    dataDir: folder,
    heldMs: 100,
    takeoverMs: 400,
    failoverMs: 100,
    respawnMs: 200,
  })
  const options = {
    urls: dashboards.urls,
    user: gateway.name,
    password: gateway.password,
    fsid: cluster.fsid,
    clock,
    patience,
  }
  const volumes = cephDashboard(options)
  const hide = async ({ pool, image }: RbdImage) => {
    await cluster.snapCreate(pool, image, 'parent')
    cluster.clone({ pool, image, snap: 'parent' }, { pool, image: randomUUID() }, clonable)
    await cluster.snapRemove(pool, image, 'parent')
  }
  const world: VolumesWorld = {
    ...hands(cluster),
    volumes,
    ...(cloneFormat === 2 ? { hide } : {}),
    cutOff: (what, when) =>
      faults.add({ service: 'dashboard', ...dashboardCalls[what], when, does: { is: 'drop' }, times: 1 }),
    hang: () => faults.add({ service: 'dashboard', when: 'before', does: { is: 'hang' }, times: 1 }),
    slowDown: dashboards.slow,
    async killGateway() {
      dashboards.killActive()
      await new Promise((resolve) => setTimeout(resolve, 600))
    },
    async close() {
      await dashboards.close()
      close()
    },
  }
  return { world, dashboards, faults, cluster, options }
}

const commandCalls: Record<string, string> = {
  snapshot: '/snap-create',
  protect: '/snap-protect',
  clone: '/clone',
  flatten: '/flatten',
  remove: '/remove',
}

/** RBD through the command line. */
export async function commandWorld(cloneFormat: 1 | 2 = 1) {
  const { cluster, conf, folder, close } = openTestCluster(cloneFormat)
  const faults = faultList()
  const endpoint = await serveRbd({ clusters: { [conf]: cluster }, port: 0, faults })
  appendFileSync(conf, `mon_host = 127.0.0.1:${String(endpoint.port)}\n`)
  const command = [process.execPath, new URL('../../infra/cloud/rbd-command.ts', import.meta.url).pathname]
  const options = { command, conf, user: 'rbdsnap' }
  const world: VolumesWorld = {
    ...hands(cluster),
    volumes: rbdVolumes({ ...options, patience, heldMs: 1_000 }),
    cutOff: (what, when) =>
      faults.add({ service: 'rbd', path: `^${commandCalls[what] ?? ''}$`, when, does: { is: 'drop' }, times: 1 }),
    hang: () => faults.add({ service: 'rbd', when: 'before', does: { is: 'hang' }, times: 1 }),
    async close() {
      await endpoint.close()
      close()
    },
  }
  return { world, faults, cluster, options, folder }
}

export const snapOf = (image: RbdImage, snap: string): RbdSnap => ({ ...image, snap })
