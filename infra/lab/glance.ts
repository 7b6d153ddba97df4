import { mkdirSync } from 'node:fs'
import { confOf } from './ceph.ts'
import { home, pools } from './clusters.ts'
import { command } from './command.ts'
import { busUrl } from './control-plane.ts'
import { etc, inLab, logOf } from './folders.ts'
import { laidOver, writeIni, type Ini } from './ini.ts'
import { checkTokens } from './keystone.ts'
import { databaseUrl, emptyDatabase } from './mariadb.ts'
import type { Part } from './part.ts'
import { host, ports, urls } from './ports.ts'
import { answers } from './ready.ts'

/**
 * One Glance with two doors, as OSSN-0090 advises: the public one hides locations, the internal one shows them and takes them,
 * and tenants cannot reach it (here they could). Same database, same store.
 */
const conf = (port: number, showsLocations: boolean): Ini => ({
  DEFAULT: {
    bind_host: host,
    bind_port: port,
    // In the process itself: one pid that can be killed.
    workers: 0,
    transport_url: busUrl(),
    show_image_direct_url: showsLocations,
    show_multiple_locations: showsLocations,
    enabled_backends: 'rbd:rbd',
    node_staging_uri: `file://${inLab('glance', 'staging')}`,
  },
  database: { connection: databaseUrl('glance') },
  glance_store: { default_backend: 'rbd' },
  rbd: {
    rbd_store_pool: pools.images,
    rbd_store_user: 'glance',
    rbd_store_ceph_conf: confOf(home),
    // Zeros are not written: of an upload of a GiB with little in it, Nova's or ours, more than half of the time.
    rbd_thin_provisioning: true,
  },
  os_glance_staging_store: { filesystem_store_datadir: inLab('glance', 'staging') },
  os_glance_tasks_store: { filesystem_store_datadir: inLab('glance', 'tasks') },
  keystone_authtoken: checkTokens('glance'),
  paste_deploy: { flavor: 'keystone', config_file: '/etc/glance/glance-api-paste.ini' },
  oslo_messaging_notifications: { driver: 'messagingv2' },
  oslo_concurrency: { lock_path: inLab('glance', 'lock') },
})

const database: Part = {
  name: 'glance-database',
  needs: ['mariadb'],
  async make() {
    await emptyDatabase('glance')
    for (const name of ['staging', 'tasks', 'lock']) mkdirSync(inLab('glance', name), { recursive: true })
    const file = writeIni(etc('glance', 'glance-manage.conf'), conf(ports.glanceInternal, true))
    const options = { log: logOf('glance-database'), withinMs: 300_000 }
    await command(['glance-manage', '--config-file', file, 'db_sync'], options)
  },
}

function door(name: string, port: number, url: string, showsLocations: boolean): Part {
  return {
    name,
    needs: ['glance-database', 'ceph-pools', 'rabbitmq', 'identities'],
    program(settings) {
      const file = writeIni(etc('glance', `${name}.conf`), laidOver(conf(port, showsLocations), settings))
      return { argv: ['glance-api', '--config-file', file], shows: `${name}.conf` }
    },
    isReady: answers(`${url}/versions`),
  }
}

export const glance: Part[] = [
  database,
  door('glance-public', ports.glancePublic, urls.glancePublic, false),
  door('glance-internal', ports.glanceInternal, urls.glanceInternal, true),
]
