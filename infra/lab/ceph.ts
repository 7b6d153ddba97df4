import { randomUUID } from 'node:crypto'
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { command } from './command.ts'
import { inLab } from './folders.ts'
import { writeIni, type Ini } from './ini.ts'
import type { Part } from './part.ts'
import { host } from './ports.ts'
import type { Program } from './process.ts'
import { listens } from './ready.ts'

/** A small Ceph: one monitor, managers, one OSD on a sparse file. */
export interface Cluster {
  /** the first word of its parts' names, and the name of its ceph.conf */
  name: string
  monitorPort: number
  osdGiB: number
  osdMemoryGiB: number
  managers: string[]
  /** modules that are on from the start. Not Ceph's own list: `restful` fails under Debian's Python and turns health to WARN. */
  modules: string
  /** the oldest client that may connect: from `mimic` on clones are of format 2 */
  minCompat: string
}

export const folderOf = ({ name }: Cluster, ...path: string[]): string => inLab(name, ...path)
export const confOf = (cluster: Cluster): string => folderOf(cluster, `${cluster.name}.conf`)
export const fsidOf = (cluster: Cluster): string => {
  const path = folderOf(cluster, 'fsid')
  if (!existsSync(path)) {
    mkdirSync(folderOf(cluster), { recursive: true })
    writeFileSync(path, randomUUID())
  }
  return readFileSync(path, 'utf8').trim()
}
const keyringOf = (cluster: Cluster, entity: string): string => folderOf(cluster, `${entity}.keyring`)
const mgrName = (cluster: Cluster, id: string) => `${cluster.name}-mgr-${id}`

/** As the administrator of that cluster. */
export const ceph = (cluster: Cluster, args: string[], input = ''): Promise<string> =>
  command(['ceph', '--conf', confOf(cluster), '--connect-timeout', '60', ...args], { input, withinMs: 90_000 })
const rbd = (cluster: Cluster, ...args: string[]): Promise<string> =>
  command(['rbd', '--conf', confOf(cluster), ...args])

function conf(cluster: Cluster): Ini {
  const toStderr = { log_to_file: false, log_to_stderr: true, err_to_stderr: true }
  const at = (kind: string) => folderOf(cluster, `${kind}.$id`)
  return {
    global: {
      fsid: fsidOf(cluster),
      mon_initial_members: 'a',
      mon_host: `[v2:${host}:${cluster.monitorPort}]`,
      public_addr: host,
      cluster_addr: host,
      ms_bind_ipv6: false,
      ms_bind_msgr1: false,
      auth_cluster_required: 'cephx',
      auth_service_required: 'cephx',
      auth_client_required: 'cephx',
      // One OSD: no second copy to wait for.
      osd_pool_default_size: 1,
      osd_pool_default_min_size: 1,
      osd_pool_default_pg_num: 32,
      osd_pool_default_pgp_num: 32,
      osd_pool_default_pg_autoscale_mode: 'off',
      osd_crush_chooseleaf_type: 0,
      run_dir: folderOf(cluster, 'run'),
      crash_dir: folderOf(cluster, 'crash'),
    },
    client: { keyring: keyringOf(cluster, '$name') },
    mon: {
      ...toStderr,
      mon_data: at('mon'),
      mon_cluster_log_to_file: false,
      mon_cluster_log_to_stderr: true,
      mon_allow_pool_delete: true,
      mon_allow_pool_size_one: true,
      mon_warn_on_pool_no_redundancy: false,
      mon_data_avail_warn: 5,
      mon_data_avail_crit: 2,
      auth_allow_insecure_global_id_reclaim: false,
      mgr_initial_modules: cluster.modules,
    },
    mgr: { ...toStderr, mgr_data: at('mgr') },
    osd: {
      ...toStderr,
      osd_data: at('osd'),
      keyring: `${at('osd')}/keyring`,
      bluestore_block_path: folderOf(cluster, 'osd.block'),
      bluestore_block_create: true,
      bluestore_block_size: cluster.osdGiB * 1024 ** 3,
      osd_memory_target: cluster.osdMemoryGiB * 1024 ** 3,
      // A virtual disk says of itself that it rotates; the five seconds between two removals fill the OSD with what is gone already.
      osd_snap_trim_sleep_hdd: 0,
      osd_delete_sleep_hdd: 0,
    },
  }
}

function daemon(cluster: Cluster, kind: string, id: string): Program {
  writeIni(confOf(cluster), conf(cluster))
  return { argv: [`ceph-${kind}`, '-f', '-i', id, '-c', confOf(cluster)], shows: `ceph-${kind}` }
}

function monitor(cluster: Cluster): Part {
  return {
    name: `${cluster.name}-mon`,
    needs: ['packages'],
    async make() {
      rmSync(folderOf(cluster), { recursive: true, force: true })
      for (const name of ['mon.a', 'run', 'crash']) mkdirSync(folderOf(cluster, name), { recursive: true })
      const path = writeIni(confOf(cluster), conf(cluster))
      const [own, admin, map] = [
        folderOf(cluster, 'mon.keyring'),
        keyringOf(cluster, 'client.admin'),
        folderOf(cluster, 'monmap'),
      ]
      const all = ['--cap', 'mon', 'allow *']
      await command(['ceph-authtool', '--create-keyring', own, '--gen-key', '-n', 'mon.', ...all])
      const everywhere = [...all, '--cap', 'osd', 'allow *', '--cap', 'mgr', 'allow *']
      await command(['ceph-authtool', '--create-keyring', admin, '--gen-key', '-n', 'client.admin', ...everywhere])
      await command(['ceph-authtool', own, '--import-keyring', admin])
      const address = `[v2:${host}:${cluster.monitorPort}]`
      await command(['monmaptool', '--create', '--fsid', fsidOf(cluster), '--addv', 'a', address, map])
      await command(['ceph-mon', '--mkfs', '-i', 'a', '-c', path, '--monmap', map, '--keyring', own])
    },
    program: () => daemon(cluster, 'mon', 'a'),
    isReady: listens(cluster.monitorPort),
  }
}

export function manager(
  cluster: Cluster,
  id: string,
  more: Pick<Part, 'isReady'> & { needs?: string[]; make?: () => Promise<void> },
): Part {
  const { needs = [], make, ...rest } = more
  return {
    name: mgrName(cluster, id),
    needs: [`${cluster.name}-mon`, ...needs],
    async make() {
      const folder = folderOf(cluster, `mgr.${id}`)
      mkdirSync(folder, { recursive: true })
      const caps = ['mon', 'allow profile mgr', 'osd', 'allow *', 'mds', 'allow *']
      await ceph(cluster, ['auth', 'get-or-create', `mgr.${id}`, ...caps, '-o', `${folder}/keyring`])
      await make?.()
    },
    program: () => daemon(cluster, 'mgr', id),
    ...rest,
  }
}

function osd(cluster: Cluster): Part {
  return {
    name: `${cluster.name}-osd`,
    needs: [`${cluster.name}-mon`],
    async make() {
      const folder = folderOf(cluster, 'osd.0')
      rmSync(folder, { recursive: true, force: true })
      rmSync(folderOf(cluster, 'osd.block'), { force: true })
      mkdirSync(folder, { recursive: true })
      const [uuid, key] = [randomUUID(), (await command(['ceph-authtool', '--gen-print-key'])).trim()]
      await ceph(cluster, ['osd', 'purge-new', '0', '--yes-i-really-mean-it']).catch(() => undefined)
      await ceph(cluster, ['osd', 'new', uuid, '0', '-i', '-'], JSON.stringify({ cephx_secret: key }))
      await command(['ceph-authtool', '--create-keyring', `${folder}/keyring`, '-n', 'osd.0', '--add-key', key])
      await command(['ceph-osd', '-i', '0', '--mkfs', '--osd-uuid', uuid, '-c', confOf(cluster)])
    },
    program: () => daemon(cluster, 'osd', '0'),
    isReady: async () => {
      const { num_up_osds } = JSON.parse(await ceph(cluster, ['osd', 'stat', '-f', 'json'])) as { num_up_osds: number }
      return num_up_osds === 1
    },
  }
}

/** Monitor, OSD, and then the pools and keys that `make` makes. The managers differ: see clusters.ts. */
export function cluster(of: Cluster, makePools: () => Promise<void>): Part[] {
  return [monitor(of), osd(of), { name: `${of.name}-pools`, needs: [`${of.name}-osd`], make: makePools }]
}

export async function makePool(of: Cluster, pool: string): Promise<void> {
  await ceph(of, ['osd', 'pool', 'create', pool, '32', '32'])
  await rbd(of, 'pool', 'init', pool)
}

/** Adds or corrects a cephx user, and leaves its keyring where the cluster's ceph.conf looks for it. */
export async function makeUser(of: Cluster, entity: string, caps: Record<string, string>, key?: string): Promise<void> {
  const path = keyringOf(of, entity)
  const flat = Object.entries(caps).flatMap(([daemon, cap]) => ['--cap', daemon, cap])
  const which = key === undefined ? ['--gen-key'] : ['--add-key', key]
  if (!existsSync(path)) await command(['ceph-authtool', '--create-keyring', path, '-n', entity, ...which, ...flat])
  await ceph(of, ['auth', 'import', '-i', path])
}

export async function keyOf(of: Cluster, entity: string): Promise<string> {
  return (await command(['ceph-authtool', '-p', '-n', entity, keyringOf(of, entity)])).trim()
}
