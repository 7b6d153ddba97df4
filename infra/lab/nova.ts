import { mkdirSync } from 'node:fs'
import { as } from './api.ts'
import { confOf } from './ceph.ts'
import { home, pools } from './clusters.ts'
import { command } from './command.ts'
import { busUrl } from './control-plane.ts'
import { etc, inLab, logOf } from './folders.ts'
import { laidOver, writeIni, type Ini } from './ini.ts'
import { checkTokens, signIn } from './keystone.ts'
import { secretUuid } from './libvirt.ts'
import { databaseUrl, emptyDatabase } from './mariadb.ts'
import type { Part } from './part.ts'
import { host, hypervisor, ports, urls } from './ports.ts'
import { isConsumed } from './rabbitmq.ts'
import { answers, eventually } from './ready.ts'

/** What docs/operate.md recommends: Nova's own list, and ours, so that a copy of our image does not seem to be ours. */
const notInherited = [
  'cache_in_nova',
  'bittorrent',
  'img_signature_hash_method',
  'img_signature',
  'img_signature_key_type',
  'img_signature_certificate_uuid',
  'rbdsnap_run',
  'rbdsnap_consistency',
  'rbdsnap_consistency_reason',
  'rbdsnap_frozen_ms',
  'rbdsnap_usable_ms',
  'rbdsnap_road',
  'rbdsnap_reason',
  'rbdsnap_policy',
  'rbdsnap_owner_protected',
].join(',')

const fileOf = (service: string) => etc('nova', `nova-${service}.conf`)
const privsep = { helper_command: `privsep-helper --config-file ${fileOf('compute')}` }

const conf = (onHost: string): Ini => ({
  DEFAULT: {
    host: onHost,
    my_ip: host,
    state_path: inLab('nova'),
    instances_path: inLab('nova', 'instances'),
    transport_url: busUrl(),
    enabled_apis: 'osapi_compute',
    osapi_compute_listen: host,
    osapi_compute_workers: 1,
    compute_driver: 'libvirt.LibvirtDriver',
    instance_usage_audit: true,
    instance_usage_audit_period: 'hour',
    allow_resize_to_same_host: true,
    vif_plugging_is_fatal: false,
    vif_plugging_timeout: 0,
    rpc_response_timeout: 120,
    shutdown_timeout: 10,
    ram_allocation_ratio: 4,
    heal_instance_info_cache_interval: 600,
    rootwrap_config: '/etc/nova/rootwrap.conf',
    non_inheritable_image_properties: notInherited,
  },
  api: { auth_strategy: 'keystone' },
  wsgi: { api_paste_config: '/etc/nova/api-paste.ini' },
  api_database: { connection: databaseUrl('nova_api') },
  database: { connection: databaseUrl('nova') },
  keystone_authtoken: checkTokens('nova'),
  service_user: { send_service_user_token: true, ...signIn('nova') },
  placement: signIn('placement'),
  neutron: signIn('neutron'),
  // Nova looks for Glance in the catalogue, internal before public: the one that shows locations.
  glance: {},
  conductor: { workers: 1 },
  scheduler: { workers: 1 },
  filter_scheduler: { enabled_filters: 'ComputeFilter,ComputeCapabilitiesFilter,ImagePropertiesFilter' },
  vnc: { enabled: false },
  spice: { enabled: false },
  notifications: {
    notification_format: 'both',
    notify_on_state_change: 'vm_and_task_state',
    bdms_in_notifications: true,
  },
  oslo_messaging_notifications: { driver: 'messagingv2' },
  oslo_concurrency: { lock_path: inLab('nova', 'lock') },
  privsep,
  vif_plug_ovs_privileged: privsep,
  vif_plug_linux_bridge_privileged: privsep,
  libvirt: {
    virt_type: 'qemu',
    cpu_mode: 'none',
    connection_uri: urls.libvirt,
    images_type: 'rbd',
    images_rbd_pool: pools.disks,
    images_rbd_ceph_conf: confOf(home),
    rbd_user: 'nova',
    rbd_secret_uuid: secretUuid,
    disk_cachemodes: 'network=writeback',
    hw_disk_discard: 'unmap',
    inject_partition: -2,
    hw_machine_type: 'x86_64=pc',
    wait_soft_reboot_seconds: 5,
    num_pcie_ports: 0,
  },
  workarounds: { skip_cpu_compare_on_dest: true },
})

const databases: Part = {
  name: 'nova-databases',
  needs: ['mariadb'],
  async make() {
    for (const name of ['nova', 'nova_api', 'nova_cell0']) await emptyDatabase(name)
    writeIni(fileOf('manage'), conf('controller-01'))
    await manage('api_db', 'sync')
    await manage('cell_v2', 'map_cell0', '--database_connection', databaseUrl('nova_cell0'))
    const cell = ['--name', 'cell1', '--transport-url', busUrl(), '--database_connection', databaseUrl('nova')]
    await manage('cell_v2', 'create_cell', ...cell)
    await manage('db', 'sync')
  },
}

function manage(...args: string[]): Promise<string> {
  const options = { log: logOf('nova-manage'), withinMs: 600_000 }
  return command(['nova-manage', '--config-file', fileOf('manage'), ...args], options)
}

function service(name: string, onHost: string, isReady: () => Promise<boolean>, needs: string[]): Part {
  return {
    name: `nova-${name}`,
    needs: ['nova-databases', 'rabbitmq', 'identities', ...needs],
    program(settings) {
      for (const folder of ['instances', 'lock']) mkdirSync(inLab('nova', folder), { recursive: true })
      const file = writeIni(fileOf(name), laidOver(conf(onHost), settings))
      return { argv: [`nova-${name}`, '--config-file', file], shows: file }
    },
    isReady,
    readyWithinMs: 120_000,
  }
}

/**
 * Nova schedules to a hypervisor once it is in a cell. `discover_hosts` finds those that have reported themselves and says nothing of
 * others; a compute that still asks Ceph how large the pool is has not, though it is on the bus.
 */
const mapping: Part = {
  name: 'nova-hypervisor',
  needs: ['nova-compute'],
  async make() {
    const isMapped = async () => {
      await manage('cell_v2', 'discover_hosts')
      return (await manage('cell_v2', 'list_hosts')).includes(hypervisor)
    }
    if (!(await eventually(isMapped, { withinMs: 60_000 })))
      throw new Error(`${hypervisor} did not report itself to Nova`)
  },
}

const flavors: Part = {
  name: 'flavors',
  needs: ['nova-api', 'identities'],
  async make() {
    const admin = await as('admin', 'admin')
    const { flavors: there } = (await admin('GET', `${urls.nova}/flavors`)) as { flavors: { id: string }[] }
    for (const disk of [1, 2, 4, 10]) {
      const flavor = { id: `lab.${disk}`, name: `lab.${disk}`, ram: 192, vcpus: 1, disk }
      if (!there.some(({ id }) => id === flavor.id)) await admin('POST', `${urls.nova}/flavors`, { flavor })
    }
  },
}

const controller = 'controller-01'
export const nova: Part[] = [
  databases,
  service('conductor', controller, isConsumed('conductor'), []),
  service('scheduler', controller, isConsumed('scheduler'), ['placement']),
  service('api', controller, answers(`http://${host}:${ports.nova}`), []),
  service('compute', hypervisor, isConsumed(`compute.${hypervisor}`), [
    'nova-conductor',
    'placement',
    'libvirt-secret',
    'glance-internal',
    // without a manager Ceph does not say how much room a pool has
    'ceph-mgr-x',
  ]),
  mapping,
  flavors,
]
