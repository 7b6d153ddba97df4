import { basename } from 'node:path'
import { SQSClient } from '@aws-sdk/client-sqs'
import { readBusUrl } from './adapters/bus-url.ts'
import { cephDashboard } from './adapters/ceph-dashboard.ts'
import { glance } from './adapters/glance.ts'
import { guestAgent } from './adapters/guest-agent.ts'
import { guestLibvirt } from './adapters/guest-libvirt.ts'
import { guestNovaPause } from './adapters/guest-nova-pause.ts'
import { guestNovaRpc } from './adapters/guest-nova-rpc.ts'
import { type Identity, keystone } from './adapters/keystone.ts'
import { novaRpc } from './adapters/nova-rpc-bus.ts'
import { nova } from './adapters/nova.ts'
import { qcow2Reader } from './adapters/qcow2-reader.ts'
import { rbdReader } from './adapters/rbd-reader.ts'
import { rbdVolumes } from './adapters/rbd.ts'
import { sqlite } from './adapters/sqlite.ts'
import { sqs } from './adapters/sqs.ts'
import type { Config } from './config.ts'
import type { Clock } from './ports/clock.ts'
import type { Compute } from './ports/compute.ts'
import type { Guest } from './ports/guest.ts'
import type { DiskReader, Volumes } from './ports/volumes.ts'
import { homeCluster, type Ports, type Settings } from './step.ts'

export const systemClock: Clock = { nowMs: () => Date.now() }

/** The composition root: every port bound to its adapter, once per process. */
export function compose(config: Config, clock: Clock): { ports: Ports; settings: Settings } {
  const identity = keystone(credentialsOf(config), clock)
  const compute = nova(identity, {})
  const { journal, leases } = sqlite(config.RBDSNAP_JOURNAL.replace(/^sqlite:/, ''))
  const command = config.RBDSNAP_RBD_COMMAND.split(' ')
  const user = config.RBDSNAP_RBD_USER ?? null
  // Ceph's own convention: a cluster is called as its configuration file is, /etc/ceph/CLUSTER.conf.
  const otherConfs = Object.fromEntries(config.RBDSNAP_RBD_OTHER_CONFS.map((conf) => [basename(conf, '.conf'), conf]))
  const others = Object.entries(otherConfs).map(([name, conf]) => [name, rbdVolumes({ command, conf, user })] as const)
  return {
    ports: {
      compute,
      images: glance(identity, {}),
      clusters: { [homeCluster]: homeOf(config, clock), ...Object.fromEntries(others) },
      reader: readerOf(config, { user, confs: { [homeCluster]: config.RBDSNAP_RBD_CONF, ...otherConfs } }),
      guest: guestOf(config, identity, compute),
      queue: sqs(new SQSClient({}), config.RBDSNAP_QUEUE_PREFIX),
      journal,
      leases,
    },
    settings: {
      novaPool: config.RBDSNAP_NOVA_POOL,
      glancePool: config.RBDSNAP_GLANCE_POOL,
      freezeBudgetMs: config.RBDSNAP_FREEZE_BUDGET_MS,
      flattensAtOnce: config.RBDSNAP_FLATTENS_AT_ONCE,
      uploadFormat: config.RBDSNAP_UPLOAD_FORMAT,
      rules: config.rules,
    },
  }
}

function guestOf(config: Config, identity: Identity, compute: Compute): Guest {
  const timeoutMs = config.RBDSNAP_FREEZE_BUDGET_MS
  switch (config.RBDSNAP_GUEST) {
    case 'nova-rpc': {
      const bus = readBusUrl(config.RBDSNAP_RPC_URL ?? config.RBDSNAP_BUS_URL ?? '')
      const options = { bus, ca: config.RBDSNAP_BUS_CA, exchange: config.RBDSNAP_BUS_EXCHANGE, timeoutMs }
      return guestNovaRpc(novaRpc(options), compute)
    }
    case 'libvirt':
      return guestLibvirt({ uri: config.RBDSNAP_LIBVIRT_URI ?? '', timeoutMs }, compute)
    case 'pause':
      return guestNovaPause(identity, compute, { timeoutMs })
    case 'socket':
      return guestAgent({ socket: config.RBDSNAP_GUEST_SOCKET, timeoutMs })
  }
}

function homeOf(config: Config, clock: Clock): Volumes {
  const conf = config.RBDSNAP_RBD_CONF
  const user = config.RBDSNAP_RBD_USER ?? null
  const ceph = config.RBDSNAP_CEPH_COMMAND?.split(' ')
  if (config.RBDSNAP_CEPH_GATEWAY === 'rbd') {
    return rbdVolumes({ command: config.RBDSNAP_RBD_COMMAND.split(' '), conf, user, ceph })
  }
  return cephDashboard({
    urls: config.RBDSNAP_CEPH_URLS,
    user: config.RBDSNAP_CEPH_USER,
    password: config.RBDSNAP_CEPH_PASSWORD,
    fsid: config.RBDSNAP_CEPH_FSID,
    ceph: ceph && { command: ceph, conf, user },
    clock,
  })
}

function readerOf(config: Config, clusters: { user: string | null; confs: Record<string, string> }): DiskReader {
  if (config.RBDSNAP_UPLOAD_FORMAT === 'raw')
    return rbdReader({ ...clusters, command: config.RBDSNAP_RBD_COMMAND.split(' ') })
  return qcow2Reader({
    ...clusters,
    command: config.RBDSNAP_QEMU_IMG_COMMAND.split(' '),
    directory: config.RBDSNAP_SNAPSHOTS_DIRECTORY ?? '',
  })
}

/** As openstackclient takes them. */
export function credentialsOf(config: Config) {
  const common = { authUrl: config.OS_AUTH_URL, region: config.OS_REGION_NAME, interface: config.OS_INTERFACE }
  if (config.OS_APPLICATION_CREDENTIAL_ID !== undefined) {
    return {
      ...common,
      applicationCredentialId: config.OS_APPLICATION_CREDENTIAL_ID,
      applicationCredentialSecret: config.OS_APPLICATION_CREDENTIAL_SECRET,
    }
  }
  return {
    ...common,
    username: config.OS_USERNAME,
    password: config.OS_PASSWORD,
    projectId: config.OS_PROJECT_ID,
    projectName: config.OS_PROJECT_NAME,
    userDomainId: config.OS_USER_DOMAIN_ID,
    projectDomainId: config.OS_PROJECT_DOMAIN_ID,
    userDomainName: config.OS_USER_DOMAIN_NAME,
    projectDomainName: config.OS_PROJECT_DOMAIN_NAME,
  }
}
