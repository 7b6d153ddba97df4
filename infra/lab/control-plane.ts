import { as } from './api.ts'
import { command } from './command.ts'
import { etc, inLab, logOf } from './folders.ts'
import { laidOver, writeIni, type Ini } from './ini.ts'
import { checkTokens, wsgi } from './keystone.ts'
import { databaseUrl, emptyDatabase } from './mariadb.ts'
import type { Part } from './part.ts'
import { host, ports, urls } from './ports.ts'
import { answers } from './ready.ts'
import { password } from './secrets.ts'

/** What Nova cannot do without, and the lab has no other use for: Placement, and Neutron's API without any agent. */
const placementFile = etc('placement', 'placement.conf')
const placementEnv = { OS_PLACEMENT_CONFIG_DIR: etc('placement') }
const placementConf = (): Ini => ({
  placement_database: { connection: databaseUrl('placement') },
  api: { auth_strategy: 'keystone' },
  keystone_authtoken: checkTokens('placement'),
})

const placement: Part = {
  name: 'placement',
  needs: ['mariadb'],
  async make() {
    await emptyDatabase('placement')
    const file = writeIni(placementFile, placementConf())
    const options = { env: placementEnv, log: logOf('placement'), withinMs: 300_000 }
    await command(['placement-manage', '--config-file', file, 'db', 'sync'], options)
  },
  program(settings) {
    writeIni(placementFile, laidOver(placementConf(), settings))
    return wsgi('/usr/bin/placement-api', ports.placement, 1, placementEnv)
  },
  isReady: answers(urls.placement),
}

export const busUrl = (): string => `rabbit://openstack:${password()}@${host}:${ports.rabbitmq}/`

const neutronFile = etc('neutron', 'neutron.conf')
const neutronConf = (): Ini => ({
  DEFAULT: {
    host: 'controller-01',
    bind_host: host,
    bind_port: ports.neutron,
    core_plugin: 'ml2',
    service_plugins: 'router,port_forwarding',
    auth_strategy: 'keystone',
    api_workers: 1,
    rpc_workers: 0,
    rpc_state_report_workers: 0,
    transport_url: busUrl(),
    state_path: inLab('neutron'),
    api_paste_config: '/etc/neutron/api-paste.ini',
    notify_nova_on_port_status_changes: false,
    notify_nova_on_port_data_changes: false,
  },
  database: { connection: databaseUrl('neutron') },
  keystone_authtoken: checkTokens('neutron'),
  oslo_concurrency: { lock_path: inLab('neutron', 'lock') },
  oslo_messaging_notifications: { driver: 'noop' },
  ml2: { type_drivers: 'flat,local', tenant_network_types: 'local', mechanism_drivers: '', extension_drivers: '' },
})

const neutron: Part = {
  name: 'neutron',
  needs: ['mariadb', 'rabbitmq', 'identities'],
  async make() {
    await emptyDatabase('neutron')
    const file = writeIni(neutronFile, neutronConf())
    const options = { log: logOf('neutron'), withinMs: 600_000 }
    await command(['neutron-db-manage', '--config-file', file, 'upgrade', 'heads'], options)
  },
  program(settings) {
    const file = writeIni(neutronFile, laidOver(neutronConf(), settings))
    return { argv: ['neutron-server', '--config-file', file], shows: 'neutron-server' }
  },
  // Neutron 21 fails Nova's first question (`GET /ports`: Port.port_forwardings) until some other query has been answered.
  async isReady() {
    const admin = await as('admin', 'admin')
    await admin('GET', `${urls.neutron}/v2.0/networks`)
    return true
  },
}

export const controlPlane: Part[] = [placement, neutron]
