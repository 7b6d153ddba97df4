import { lstatSync, mkdirSync, readlinkSync, renameSync, rmSync, symlinkSync } from 'node:fs'
import { ceph, cluster, confOf, keyOf, makePool, makeUser, manager, type Cluster } from './ceph.ts'
import { dashboardAnswers, makeDashboardUsers, setDashboard } from './dashboard.ts'
import { labFolder } from './lab.ts'
import type { Part } from './part.ts'
import { ports, urls } from './ports.ts'

export const pools = { disks: 'vms', images: 'images' }

/** The cluster that Glance and Nova share, and one that Glance does not know. */
export const home: Cluster = {
  name: 'ceph',
  monitorPort: ports.monitor,
  osdGiB: Number(process.env['RBDSNAP_LAB_OSD_GIB'] ?? 32),
  osdMemoryGiB: 2,
  managers: ['x', 'y'],
  modules: 'dashboard',
  minCompat: process.env['RBDSNAP_LAB_MIN_COMPAT'] ?? 'mimic',
}
export const other: Cluster = {
  name: 'other',
  monitorPort: ports.otherMonitor,
  osdGiB: 6,
  osdMemoryGiB: 1,
  managers: ['x'],
  modules: 'rbd_support',
  minCompat: 'mimic',
}

const both = `profile rbd pool=${pools.disks}, profile rbd pool=${pools.images}`
const client = (osd: string) => ({ mon: 'profile rbd', mgr: 'profile rbd', osd })

async function makeHomePools(): Promise<void> {
  await ceph(home, ['osd', 'set-require-min-compat-client', home.minCompat])
  for (const pool of Object.values(pools)) await makePool(home, pool)
  for (const name of ['nova', 'glance', 'rbdsnap']) await makeUser(home, `client.${name}`, client(both))
  linkConf()
}

/** Nova's key is the same in both clusters, so that one secret of libvirt's opens the disks of either. */
async function makeOtherPools(): Promise<void> {
  await ceph(other, ['osd', 'set-require-min-compat-client', other.minCompat])
  await makePool(other, pools.disks)
  const caps = client(`profile rbd pool=${pools.disks}`)
  await makeUser(other, 'client.nova', caps, await keyOf(home, 'client.nova'))
  await makeUser(other, 'client.rbdsnap', caps)
}

const isManaging = (of: Cluster) => async () =>
  (JSON.parse(await ceph(of, ['mgr', 'stat', '-f', 'json'])) as { available: boolean }).available

export const clusters: Part[] = [
  ...cluster(home, makeHomePools),
  manager(home, 'x', { isReady: dashboardAnswers(urls.dashboardX), make: () => setDashboard(home) }),
  // Second, so that in a fresh lab x is the active one.
  manager(home, 'y', { isReady: dashboardAnswers(urls.dashboardY), needs: ['ceph-mgr-x'] }),
  { name: 'dashboard-users', needs: ['ceph-mgr-x'], make: () => makeDashboardUsers(home) },
  ...cluster(other, makeOtherPools).map((part) =>
    part.name === 'other-pools' ? { ...part, needs: [...part.needs, 'ceph-pools'] } : part,
  ),
  // Nova asks `ceph df` how much room there is, and without a manager that says none.
  manager(other, 'x', { isReady: isManaging(other) }),
]

/** `ceph` and `rbd` typed by hand, and qemu, look here. The only thing that the lab leaves outside of its folder. */
const wellKnown = '/etc/ceph/ceph.conf'
const setAside = `${wellKnown}.before-rbdsnap-lab`
function linkConf(): void {
  mkdirSync('/etc/ceph', { recursive: true })
  if (!isOurs() && exists(wellKnown)) renameSync(wellKnown, setAside)
  rmSync(wellKnown, { force: true })
  symlinkSync(confOf(home), wellKnown)
}

export function unlinkConf(): void {
  if (!isOurs()) return
  rmSync(wellKnown)
  if (exists(setAside)) renameSync(setAside, wellKnown)
}

const exists = (path: string) => lstatSync(path, { throwIfNoEntry: false }) !== undefined
const isOurs = () =>
  lstatSync(wellKnown, { throwIfNoEntry: false })?.isSymbolicLink() === true &&
  readlinkSync(wellKnown).startsWith(labFolder)
