import { renameSync, writeFileSync } from 'node:fs'
import { as } from './api.ts'
import { confOf, fsidOf } from './ceph.ts'
import { home, other, pools } from './clusters.ts'
import { busUrl } from './control-plane.ts'
import { inLab } from './folders.ts'
import { applicationCredential } from './identities.ts'
import { imageId } from './images.ts'
import { labFolder, type Lab, type Person } from './lab.ts'
import { host, hypervisor, ports, region, urls } from './ports.ts'
import { password, secretOf } from './secrets.ts'

/** Writes lab.json, complete or not at all; it holds passwords. */
export async function describeLab(): Promise<void> {
  const path = inLab('lab.json')
  writeFileSync(`${path}.new`, `${JSON.stringify(await lab(), null, 2)}\n`, { mode: 0o600 })
  renameSync(`${path}.new`, path)
}

async function lab(): Promise<Lab> {
  const admin = await as('admin', 'admin')
  const { projects } = (await admin('GET', `${urls.keystone}/projects`)) as { projects: { id: string; name: string }[] }
  const person = (name: string, project: string): Person => ({
    name,
    password: password(),
    project,
    projectId: projects.find((one) => one.name === project)?.id ?? '',
  })
  const dashboards = [urls.dashboardX, urls.dashboardY]
  return {
    folder: labFolder,
    env: env(dashboards),
    authUrl: urls.keystone,
    region,
    people: {
      admin: person('admin', 'admin'),
      tenant: person('tenant', 'tenant'),
      other: person('other', 'other'),
      service: person('rbdsnap', 'service'),
    },
    glance: { public: urls.glancePublic, internal: urls.glanceInternal },
    nova: urls.nova,
    ceph: {
      fsid: fsidOf(home),
      conf: confOf(home),
      dashboards,
      administrator: { user: 'admin', password: secretOf('dashboard-admin') },
      pools,
    },
    otherCeph: { fsid: fsidOf(other), conf: confOf(other) },
    bus: { url: busUrl(), managementUrl: `http://openstack:${password()}@${host}:${ports.rabbitmqManagement}` },
    libvirt: { uri: urls.libvirt, hypervisor },
    images: {
      agent: await imageId(admin, 'agent'),
      plain: await imageId(admin, 'plain'),
      flat: await imageId(admin, 'flat'),
    },
  }
}

function env(dashboards: string[]): Record<string, string> {
  const { id, secret } = applicationCredential()
  return {
    OS_AUTH_URL: urls.keystone,
    OS_APPLICATION_CREDENTIAL_ID: id,
    OS_APPLICATION_CREDENTIAL_SECRET: secret,
    OS_REGION_NAME: region,
    RBDSNAP_CEPH_URLS: dashboards.join(','),
    RBDSNAP_CEPH_FSID: fsidOf(home),
    RBDSNAP_CEPH_USER: 'gate',
    RBDSNAP_CEPH_PASSWORD: secretOf('dashboard-gate'),
    RBDSNAP_RBD_USER: 'rbdsnap',
    RBDSNAP_RBD_CONF: confOf(home),
    RBDSNAP_CEPH_COMMAND: 'ceph',
    RBDSNAP_RBD_OTHER_CONFS: confOf(other),
    RBDSNAP_BUS_URL: `rabbit://rbdsnap:${secretOf('rabbitmq-rbdsnap')}@${host}:${ports.rabbitmq}/`,
  }
}
