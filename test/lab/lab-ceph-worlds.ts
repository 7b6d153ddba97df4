import { writeFileSync, rmSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { cephDashboard } from '../../shared/adapters/ceph-dashboard.ts'
import { commandFacts, dashboardFacts } from '../../shared/adapters/ceph-facts.ts'
import { rbdReader } from '../../shared/adapters/rbd-reader.ts'
import { rbdVolumes } from '../../shared/adapters/rbd.ts'
import type { Clock } from '../../shared/ports/clock.ts'
import { homeCluster } from '../../shared/step.ts'
import type { FactsWorld } from '../contract/facts.contract.ts'
import type { ReaderWorld } from '../contract/reader.contract.ts'
import type { VolumesWorld } from '../contract/volumes.contract.ts'
import { type CephLab, diskBytes, hands, managers, mebibyte } from './lab-ceph.ts'
import { featureOff, snapRemovedMeanwhile, killChildren, unserved } from '../contract/embedded-ceph.ts'
import { until } from './hands.ts'
import { openProxy } from './proxy.ts'

const clock: Clock = { nowMs: () => Date.now() }

type Called = Parameters<NonNullable<VolumesWorld['cutOff']>>[0]

const methods: Record<Called, string> = {
  snapshot: 'POST',
  protect: 'PUT',
  clone: 'POST',
  flatten: 'POST',
  remove: 'DELETE',
}
const commands: Record<Called, string> = {
  snapshot: 'snap create',
  protect: 'snap protect',
  clone: 'clone',
  flatten: 'flatten',
  remove: 'rm',
}

/** Dashboard users of the suite's own: what is done to them (a wrong password, tokens voided) is done to nobody else. */
async function makeDashboardUser({ ceph, dir }: CephLab, user: string, rights: string[]) {
  const password = 'the right one'
  const path = join(dir, 'password')
  writeFileSync(path, password)
  const drop = async () => {
    await ceph('dashboard', 'ac-user-delete', user).catch(() => undefined)
    await ceph('dashboard', 'ac-role-delete', user).catch(() => undefined)
  }
  await drop()
  await ceph('dashboard', 'ac-role-create', user)
  await ceph('dashboard', 'ac-role-add-scope-perms', user, 'rbd-image', ...rights)
  await ceph('dashboard', 'ac-user-create', user, user, '--force-password', '-i', path)
  return { user, password, drop }
}

/** A quota of one byte: the monitors see within seconds that it is used up, or that there is none any more. */
async function fillUp({ ceph, pools }: CephLab) {
  const setQuota = (bytes: number) => ceph('osd', 'pool', 'set-quota', pools.images, 'max_bytes', String(bytes))
  const isFull = async () => (await ceph('health', 'detail')).includes(`pool '${pools.images}' is full`)
  await setQuota(1)
  await until(async () => (await isFull()) || null, `${pools.images} is full`)
  return {
    async release() {
      await setQuota(0)
      await until(async () => !(await isFull()) || null, `${pools.images} has room again`)
    },
  }
}

/** RBD through the real dashboard of two managers; a proxy before each of them loses answers when told so. */
export async function dashboardWorld(given: CephLab, has: { ceph?: true } = {}): Promise<VolumesWorld> {
  const { lab, ceph } = given
  const account = await makeDashboardUser(given, 'rbdsnap-contract', ['read', 'create', 'update', 'delete'])
  const reader = await makeDashboardUser(given, 'rbdsnap-contract-reader', ['read'])
  const own = hands(given)
  const mgr = managers(given)
  const proxies = new Map<string, Awaited<ReturnType<typeof openProxy>>>()
  const renamed = (location: string) => proxies.get(new URL(location).origin)?.url ?? location
  for (const url of lab.ceph.dashboards) proxies.set(new URL(url).origin, await openProxy(url, renamed))
  const urls = [...proxies.values()].map(({ url }) => url)
  const options = {
    urls,
    user: account.user,
    password: account.password,
    fsid: lab.ceph.fsid,
    clock,
    ...(has.ceph ? { ceph: { command: ['ceph'], conf: given.conf, user: given.user } } : {}),
  }

  /** After a failover the new manager's modules tell of themselves a moment later. */
  async function activeFirst(): Promise<string[]> {
    const known = async () =>
      (JSON.parse(await ceph('mgr', 'services', '-f', 'json')) as { dashboard?: string }).dashboard ?? null
    const first = proxies.get(new URL(await until(known, 'the address of the active dashboard')).origin)?.url ?? ''
    return [first, ...urls.filter((url) => url !== first)]
  }
  let order = await activeFirst()
  const activeProxy = () => [...proxies.values()].find(({ url }) => url === order[0])

  /** Clone format 2: a snapshot that is removed below its clone goes to the trash, and the dashboard shows its image no more. */
  async function hide(image: Parameters<typeof own.write>[0]) {
    const source = { ...image, snap: 'parent' }
    await own.snapshot(source)
    await own.clone(source, { pool: image.pool, image: `${image.image}-child` })
    await given.rbd('snap', 'rm', '--no-progress', `${image.pool}/${image.image}@parent`)
  }

  return {
    ...own,
    volumes: cephDashboard(options),
    cutOff: (what, when) => activeProxy()?.cutOff(methods[what], when),
    hang() {
      activeProxy()?.hang()
      return { callOff: () => undefined }
    },
    async killGateway() {
      await mgr.killActive()
      order = await activeFirst()
    },
    ...(has.ceph ? { keepsFlattens: true } : {}),
    fillUp: () => fillUp(given),
    async failOver() {
      await mgr.fail()
      order = await activeFirst()
    },
    atStandby: () => cephDashboard({ ...options, urls: order.toReversed() }),
    async voidTokens() {
      await ceph('dashboard', 'ac-user-set-roles', account.user, account.user)
    },
    withWrongPassword: () => cephDashboard({ ...options, password: 'wrong' }),
    withSmallRole: () => cephDashboard({ ...options, user: reader.user }),
    unserved: () => unserved({ ...options, urls: lab.ceph.dashboards }),
    switchOff: () => activeProxy()?.answer(404, JSON.stringify(featureOff.body), featureOff.headers),
    hideOnce: () => activeProxy()?.answer(404, JSON.stringify(snapRemovedMeanwhile.body), snapRemovedMeanwhile.headers),
    ...(given.cloneFormat === 2 ? { hide } : {}),
    async close() {
      for (const proxy of proxies.values()) await proxy.close()
      await account.drop()
      await reader.drop()
      await given.close()
    },
  }
}

/** Before or after it has done its work, or instead of it, `rbd` is killed when the file `fault` says so. */
const faultyRbd = `#!/bin/sh
fault=$1; shift
if [ -e "$fault" ] && { read -r when what < "$fault"; case " $* " in *" $what "*) true;; *) [ -z "$what" ];; esac; }; then
  rm "$fault"
  [ "$when" = hang ] && exec sleep 60
  [ "$when" = after ] && rbd "$@" > /dev/null 2>&1
  kill -9 $$
fi
exec rbd "$@"
`

/** A cephx user who may only read. */
async function makeReader({
  ceph,
  conf: own,
  dir,
  pools,
  user: main,
}: CephLab): Promise<{ conf: string; user: string }> {
  const user = `${main}-reader`
  const osd = Object.values(pools).map((pool) => `profile rbd-read-only pool=${pool}`)
  const keyring = join(dir, 'reader-keyring')
  await ceph('auth', 'rm', `client.${user}`)
  await ceph('auth', 'get-or-create', `client.${user}`, 'mon', 'profile rbd', 'osd', osd.join(', '), '-o', keyring)
  const conf = join(dir, 'reader.conf')
  writeFileSync(conf, `${readFileSync(own, 'utf8')}\n[client.${user}]\nkeyring = ${keyring}\n`)
  return { conf, user }
}

/** RBD through Ceph's own command line. */
export async function commandWorld(given: CephLab, has: { ceph?: true } = {}): Promise<VolumesWorld> {
  const script = join(given.dir, 'rbd')
  const fault = join(given.dir, 'fault')
  writeFileSync(script, faultyRbd, { mode: 0o700 })
  return {
    ...hands(given),
    volumes: rbdVolumes({
      command: [script, fault],
      conf: given.conf,
      user: given.user,
      heldMs: 300,
      ...(has.ceph ? { ceph: ['ceph'] } : {}),
    }),
    cutOff: (what, when) => writeFileSync(fault, `${when} ${commands[what]}\n`),
    killGateway: async () => killChildren('flatten', 'cp'),
    ...(has.ceph ? { keepsFlattens: true, fillUp: () => fillUp(given) } : {}),
    async trash({ pool, image }) {
      await given.rbd('trash', 'mv', `${pool}/${image}`)
    },
    async removeBelowClone({ pool, image, snap }) {
      await given.rbd('snap', 'rm', '--no-progress', `${pool}/${image}@${snap}`)
    },
    withoutConf: () => rbdVolumes({ command: ['rbd'], conf: `${given.conf}.none`, user: given.user }),
    withSmallRole: async () => rbdVolumes({ command: ['rbd'], ...(await makeReader(given)) }),
    hang() {
      writeFileSync(fault, 'hang\n')
      return { callOff: () => rmSync(fault, { force: true }) }
    },
    async close() {
      await given.ceph('auth', 'rm', `client.${given.user}-reader`)
      await given.close()
    },
  }
}

export function readerWorld(given: CephLab): ReaderWorld {
  const own = hands(given)
  const confs = { [homeCluster]: given.conf, other: given.conf }
  return {
    reader: rbdReader({ command: ['rbd'], user: given.user, confs }),
    clusters: { home: homeCluster, other: 'other' },
    async makeSnapshot() {
      const disk = { pool: own.pools.disks, image: `read-${String(Math.random()).slice(2)}` }
      await given.rbd('create', '--size', '64M', `${disk.pool}/${disk.image}`)
      const bytes = Buffer.alloc(diskBytes)
      const objects = [0, 3, 15]
      const blocks = await own.fill(disk, objects, diskBytes, 3 * mebibyte)
      for (const [at, object] of objects.entries()) blocks[at]?.copy(bytes, object * 4 * mebibyte)
      const snap = { ...disk, snap: 's' }
      await own.snapshot(snap)
      await own.write(disk)
      return { snap, bytes }
    },
    cutOff: () => killChildren('export'),
    close: given.close,
  }
}

export async function dashboardFactsWorld(given: CephLab): Promise<FactsWorld> {
  const account = await makeDashboardUser(given, 'rbdsnap-contract', ['read', 'create', 'update', 'delete'])
  const reader = await makeDashboardUser(given, 'rbdsnap-contract-reader', ['read', 'create'])
  const options = { urls: given.lab.ceph.dashboards, password: account.password, clock }
  return {
    facts: dashboardFacts({ ...options, user: account.user }),
    small: dashboardFacts({ ...options, user: reader.user }),
    ...hands(given),
    // the managers' own, whatever a pool says
    cloneFormat: /require_min_compat_client (luminous|jewel)/.test(await given.ceph('osd', 'dump')) ? 1 : 2,
    isSilentOn: ['fsid'],
    async close() {
      await account.drop()
      await reader.drop()
      await given.close()
    },
  }
}

export async function commandFactsWorld(given: CephLab): Promise<FactsWorld> {
  const { conf, user } = given
  return {
    facts: commandFacts({ command: ['rbd'], ceph: ['ceph'], conf, user }),
    // no right to the managers' tasks
    small: commandFacts({ command: ['rbd'], ceph: ['ceph'], ...(await makeReader(given)) }),
    ...hands(given),
    cloneFormat: given.cloneFormat,
    isSilentOn: [],
    async close() {
      await given.ceph('auth', 'rm', `client.${user}-reader`)
      await given.close()
    },
  }
}
