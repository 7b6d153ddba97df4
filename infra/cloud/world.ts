import { blankImage, setField } from './glance-images.ts'
import type { Identities } from './keystone-identities.ts'
import { snapshotRecord } from './nova-actions.ts'
import type { NovaCore } from './nova-core.ts'
import type { Records } from './records.ts'
import type { NewServer, ServerFactory } from './servers.ts'

export const projects = {
  admin: '5d1f6a0e3b1c4f4c9a2b7e8d6c0f1a23',
  service: '7c2e9b4d8f6a4e1db3c5a0f9e8d7b6c4',
  tenant: '13fcaa0fddb64917b16214698f0e086f',
  other: '9e8b7c6d5f4a4b3c8d2e1f0a9b8c7d6e',
}
export const users = {
  admin: 'a1b2c3d4e5f64a7b8c9d0e1f2a3b4c5d',
  rbdsnap: 'b7d0c1e2f3a44b5c9d6e7f8091a2b3c4',
  nova: 'c8e1d2f3a4b54c6d8e7f9081a2b3c4d5',
  glance: 'd9f2e3a4b5c64d7e9f8091a2b3c4d5e6',
  tenant: 'fb4f27fdd2d24feb9a89e4ba3b19baa7',
  other: 'e0a3f4b5c6d74e8f8091a2b3c4d5e6f7',
}

/** The servers of the captured notifications, with the ids that are in them. */
export const capturedServers = {
  clone: '2ea85081-e9bb-4d02-8bc0-a7302c847e8c',
  flat: '89c56d91-0150-41cf-b686-3c47292b07da',
  orphan: '2da6442b-5306-46f2-b9ec-357728216b59',
  cloneTooFull: '234bb057-c4e5-4634-a483-21237677a743',
}
const labRaw = '786433bf-5963-4434-97b9-492cb76182a5'
const labQcow2 = '32620028-133a-43ce-bc7c-0c74e8466245'

/** For a demo: one server for each road that a snapshot can take. */
export const demoServers = {
  clone: 'de300001-0000-4000-8000-000000000001',
  flat: 'de300002-0000-4000-8000-000000000002',
  require: 'de300003-0000-4000-8000-000000000003',
  noLayering: 'de300004-0000-4000-8000-000000000004',
  otherCluster: 'de300005-0000-4000-8000-000000000005',
  prefer: 'de300006-0000-4000-8000-000000000006',
}

const tenant = { project: projects.tenant, user: users.tenant }
const time = (clock: string) => Date.parse(`2026-11-23T${clock}Z`)

const servers: NewServer[] = [
  {
    ...tenant,
    id: capturedServers.clone,
    name: 'vm-clone',
    disk: 'clone',
    sizeGib: 1,
    agent: 'on',
    image: { id: labRaw },
    tags: ['gold'],
    metadata: { snap: 'daily', backup: 'hourly' },
    reservation: 'r-29lrbk5b',
    createdAtMs: time('01:16:48'),
    launchedAtMs: time('01:16:51'),
  },
  {
    ...tenant,
    id: capturedServers.flat,
    name: 'vm-flat',
    disk: 'flat',
    sizeGib: 1,
    agent: 'on',
    image: { id: labQcow2 },
    // events/ holds the notifications of these two requests
    tags: ['snapshot:before-upgrade'],
    reservation: 'r-76uwtha0',
    createdAtMs: time('01:16:55'),
    launchedAtMs: time('01:17:01'),
  },
  {
    ...tenant,
    id: capturedServers.orphan,
    name: 't-orphan-1G-100M',
    disk: 'flat',
    sizeGib: 1,
    agent: 'none',
    image: { id: '8956a273-4f29-466f-ad35-52dc5b811cee', isGone: true },
    reservation: 'r-7q4cn0kf',
    createdAtMs: time('01:29:54'),
    launchedAtMs: time('01:30:00'),
  },
  {
    ...tenant,
    id: capturedServers.cloneTooFull,
    name: 't-clone-1G-1G',
    disk: 'clone',
    sizeGib: 1,
    agent: 'on',
    image: { id: labRaw },
    tags: ['snapshot'],
    reservation: 'r-8glhi95o',
    createdAtMs: time('01:29:15'),
    launchedAtMs: time('01:29:20'),
  },
  { ...tenant, id: demoServers.clone, name: 'demo-clone', disk: 'clone', sizeGib: 10, agent: 'on' },
  { ...tenant, id: demoServers.flat, name: 'demo-flat', disk: 'flat', sizeGib: 10, agent: 'on' },
  // its image demands a freeze and it has no agent: a consistent snapshot is impossible
  {
    ...tenant,
    id: demoServers.require,
    name: 'demo-require',
    disk: 'clone',
    sizeGib: 2,
    agent: 'none',
    requireQuiesce: true,
  },
  { ...tenant, id: demoServers.noLayering, name: 'demo-no-layering', disk: 'no-layering', sizeGib: 2, agent: 'on' },
  {
    ...tenant,
    id: demoServers.otherCluster,
    name: 'demo-other-cluster',
    disk: 'other-cluster',
    sizeGib: 1,
    agent: 'on',
  },
  // its image says that there is an agent, but nobody answers: the snapshot is made and says that it is worse
  {
    ...tenant,
    id: demoServers.prefer,
    name: 'demo-prefer',
    disk: 'clone',
    sizeGib: 2,
    agent: 'stopped',
    saysAgent: true,
  },
]

/** The images that nova-api had queued for the captured instance.snapshot.start events; `at` is the event's time. */
const queued: { image: string; server: keyof typeof capturedServers; name: string; at: string; rootGib: number }[] = [
  {
    image: '56813989-0617-48bf-bca3-9bbe9caca90f',
    server: 'clone',
    name: 'snap-running',
    at: '01:21:31.507',
    rootGib: 1,
  },
  {
    image: 'ce34a46b-92ef-4f26-9bf5-1f90218e590c',
    server: 'flat',
    name: 'snap-running-flat',
    at: '01:21:39.169',
    rootGib: 1,
  },
  { image: '49f9d838-b36f-4633-bb20-dcae6563bc12', server: 'clone', name: 'bk-1', at: '01:21:45.578', rootGib: 1 },
  { image: '526e98ee-c108-4fd5-af3d-55e009a72bca', server: 'clone', name: 'bk-2', at: '01:21:51.815', rootGib: 1 },
  {
    image: 'bcacd0ca-5e51-4ba0-a9e4-47df480f1973',
    server: 'clone',
    name: 'snap-stopped',
    at: '01:22:02.626',
    rootGib: 1,
  },
  {
    image: '4de8322b-01c2-4368-9bd6-0d84730c1b53',
    server: 'clone',
    name: 'snap-paused',
    at: '01:22:18.018',
    rootGib: 1,
  },
  { image: 'd63c6383-9d03-4790-a79f-6dd7112ae4a8', server: 'clone', name: 'snap-fail', at: '01:27:09.249', rootGib: 2 },
  {
    image: '059fd825-a0be-4af9-a1e9-3fcf3b1ac0cb',
    server: 'orphan',
    name: 'snap-fail',
    at: '01:31:24.359',
    rootGib: 1,
  },
  {
    image: '2e9319cb-f4be-45fe-acfa-91204940f14a',
    server: 'cloneTooFull',
    name: 'snap-timing',
    at: '01:31:55.520',
    rootGib: 1,
  },
]
/** nova-api made the image that long before the event came */
const queuedBeforeMs = 320

async function seedPeople(people: Identities, password: string, servicePassword: string) {
  for (const [name, id] of Object.entries(projects)) people.addProject({ id, name })
  const user = (name: keyof typeof users, project: keyof typeof projects, roles: string[], secret = password) =>
    people.addUser({ id: users[name], name, password: secret, roles: { [projects[project]]: roles } })
  await user('admin', 'admin', ['admin'])
  await user('tenant', 'tenant', ['member', 'reader'])
  await user('other', 'other', ['member', 'reader'])
  for (const name of ['nova', 'glance'] as const) await user(name, 'service', ['admin', 'service'])
  await user('rbdsnap', 'service', ['admin', 'service'], servicePassword)
}

function seedQueuedImages(nova: NovaCore) {
  const asTenant = { userId: users.tenant, userName: 'tenant', projectName: 'tenant', roles: ['member', 'reader'] }
  for (const { image, server, name, at, rootGib } of queued) {
    const instance = nova.instances.get(capturedServers[server])
    if (!instance || nova.glance.all().some((row) => row.id === image)) continue
    const row = blankImage(image, instance.project, time(at) - queuedBeforeMs)
    const record = snapshotRecord(
      { ...instance, flavor: { ...instance.flavor, rootGib } },
      { name, metadata: {} },
      asTenant,
    )
    for (const [field, value] of Object.entries(record)) setField(row, field, value)
    nova.glance.seed({
      ...row,
      properties: { ...row.properties, image_type: name.startsWith('bk-') ? 'backup' : 'snapshot' },
    })
  }
}

/** What was there before the cloud was started, made once: what a test then removes stays removed. */
export async function seedWorld(parts: {
  records: Records
  people: Identities
  nova: NovaCore
  factory: ServerFactory
  password: string
  servicePassword: string
}): Promise<void> {
  const { nova, factory } = parts
  await seedPeople(parts.people, parts.password, parts.servicePassword)
  const seeded = parts.records.table<true>('seeded')
  if (seeded.get('world')) return
  const agent = { hw_qemu_guest_agent: 'yes' }
  const raw = { id: labRaw, name: 'lab-raw', sizeGib: 1, format: 'raw' } as const
  const qcow2 = { id: labQcow2, name: 'lab-qcow2', sizeGib: 1, format: 'qcow2' } as const
  // together: each one waits for the monitor, and one round of it serves them all
  await Promise.all([
    factory.ensureBase({ ...raw, properties: { ...agent, os_require_quiesce: 'no' } }),
    factory.ensureBase({ ...qcow2, properties: agent }),
  ])
  await Promise.all(servers.map((server) => factory.addServer(server)))
  seedQueuedImages(nova)
  seeded.put('world', true)
}
