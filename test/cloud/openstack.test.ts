import { spawn } from 'node:child_process'
import { randomBytes, randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { faultList } from '../../infra/cloud/http.ts'
import { startKeystone } from '../../infra/cloud/keystone.ts'
import { type Cloud, startCloud } from '../../infra/cloud/main.ts'
import type { Delivery } from '../../infra/cloud/notifications.ts'
import type { NewServer } from '../../infra/cloud/servers.ts'
import { openRecords } from '../../infra/cloud/records.ts'
import { capturedServers, demoServers, projects, users } from '../../infra/cloud/world.ts'
import { agentOf, call, client, type Client, passwordOf, until } from './openstack-client.ts'

const home = mkdtempSync(join(tmpdir(), 'os-'))
const mib = 2 ** 20
let cloud: Cloud
let tenant: Client
let other: Client
let admin: Client
let service: Client

beforeAll(async () => {
  cloud = await startCloud({
    dataDir: join(home, 'cloud'),
    paxosProposeIntervalMs: 20,
    nova: { destroyRetries: 2, destroyRetryIntervalMs: 50, notificationFormat: 'both' },
  })
  tenant = await client(cloud, 'tenant', 'tenant')
  other = await client(cloud, 'other', 'other')
  admin = await client(cloud, 'admin', 'admin')
  service = await client(cloud, 'rbdsnap', 'service')
}, 20_000)
afterAll(async () => {
  await cloud.close()
  rmSync(home, { recursive: true, force: true })
})

const usualWaits = { start: 10, snapshot: 0, clone: 0, flatten: 0, register: 0, convert: 0, upload: 0, end: 0 }
afterEach(() => {
  cloud.faults.clear()
  cloud.nova.set({ waitsMs: usualWaits, failNext: null })
  cloud.glance.set({
    showLocations: { public: true, internal: true },
    hasLocationApi: false,
    imageSizeCap: 2 ** 40,
    maxBytesPerProject: 0,
    maxImagesPerProject: 0,
  })
})

function addServer(wish: Partial<NewServer> = {}) {
  const tenants = { project: projects.tenant, user: users.tenant }
  return cloud.factory.addServer({ name: 'vm', disk: 'clone', sizeGib: 1, agent: 'on', ...tenants, ...wish })
}

async function createImage(server: string, who: Client = tenant): Promise<string> {
  const body = { createImage: { name: 'snap' } }
  const answer = await who.nova('POST', `/servers/${server}/action`, { body })
  expect(answer.status).toBe(202)
  return answer.json.image_id
}

/** until Nova does nothing with the server any more */
const idle = (server: string) => until('an idle server', () => cloud.nova.get(server).taskState === null)
const snapsOf = (server: string) => cloud.clusters.a.info('vms', `${server}_disk`).snaps.map((snap) => snap.name)
const inPool = (image: string) => cloud.clusters.a.images('images').includes(image)

/** The event types, with the new task state for updates, that came after `seq` for the versioned format. */
async function eventsAfter(seq: number): Promise<string[]> {
  const deliveries = await cloud.nova.notify.after(seq, 0)
  return deliveries
    .filter(({ routing_key }) => routing_key.startsWith('versioned'))
    .map((delivery) => {
      const message = messageOf(delivery)
      const data = message.payload['nova_object.data']
      return message.event_type === 'instance.update' ? `u(${String(data.task_state)})` : message.event_type
    })
}
// eslint-disable-next-line @typescript-eslint/no-explicit-any
const messageOf = ({ body }: Delivery): any => JSON.parse(JSON.parse(body)['oslo.message'])
const lastSeq = async () => (await cloud.nova.notify.after(0, 0, 1_000_000)).at(-1)?.seq ?? 0

describe('Keystone', () => {
  const tokens = () => `${cloud.urls.keystone}/auth/tokens`

  it('gives a Fernet-shaped token with a catalogue for a password', async () => {
    const answer = await call('POST', tokens(), { body: passwordOf('rbdsnap', 'service') })
    expect(answer.status).toBe(201)
    expect(answer.headers.get('x-subject-token')).toMatch(/^gAAAAA[\w-]{177}$/)
    const { methods, roles, catalog, expires_at, issued_at } = answer.json.token
    expect(methods).toEqual(['password'])
    expect(roles.map((role: { name: string }) => role.name)).toEqual(['admin', 'service', 'member', 'reader'])
    expect(Date.parse(expires_at) - Date.parse(issued_at)).toBe(3_600_000)
    expect(catalog.map((entry: { type: string }) => entry.type)).toEqual(['identity', 'image', 'compute'])
    const compute = catalog[2].endpoints.find((endpoint: { interface: string }) => endpoint.interface === 'public')
    expect(compute).toMatchObject({ region: 'RegionOne', url: cloud.urls.nova })
  })

  it('leaves the catalogue out when asked, and gives it by itself', async () => {
    const answer = await call('POST', `${tokens()}?nocatalog`, { body: passwordOf('tenant', 'tenant') })
    expect(answer.json.token).not.toHaveProperty('catalog')
    const headers = { 'x-auth-token': tenant.token }
    expect((await call('GET', `${cloud.urls.keystone}/auth/catalog`, { headers })).json.catalog).toHaveLength(3)
  })

  it('answers the same 401 for a wrong password, a wrong user and a project without a role', async () => {
    const wrong = [passwordOf('tenant', 'tenant', 'no'), passwordOf('nobody', 'tenant'), passwordOf('tenant', 'other')]
    for (const body of wrong) {
      const answer = await call('POST', tokens(), { body })
      expect(answer.status).toBe(401)
      const message = 'The request you have made requires authentication.'
      expect(answer.json).toEqual({ error: { code: 401, message, title: 'Unauthorized' } })
    }
  })

  it('takes an application credential without a scope only, with just the roles listed', async () => {
    const url = `${cloud.urls.keystone}/users/${service.userId}/application_credentials`
    const wish = { application_credential: { name: 'gate', roles: [{ name: 'admin' }] } }
    const made = await call('POST', url, { body: wish, headers: { 'x-auth-token': service.token } })
    expect(made.status).toBe(201)
    const { id, secret } = made.json.application_credential
    expect(secret).toHaveLength(86)
    const identity = { methods: ['application_credential'], application_credential: { id, secret } }
    const answer = await call('POST', tokens(), { body: { auth: { identity } } })
    expect(answer.status).toBe(201)
    expect(answer.json.token.roles.map((role: { name: string }) => role.name)).toEqual(['admin'])
    expect(answer.json.token.project.name).toBe('service')
    const scoped = { identity, scope: { project: { name: 'service', domain: { name: 'Default' } } } }
    const refused = await call('POST', tokens(), { body: { auth: scoped } })
    expect(refused.json.error.message).toBe('Application credentials cannot request a scope.')
    expect(refused.status).toBe(401)
  })

  it('takes a revoked token no more, while Glance still does from its cache', async () => {
    const one = await client(cloud, 'tenant', 'tenant')
    expect((await one.glance('GET', '/images')).status).toBe(200)
    const headers = { 'x-auth-token': one.token, 'x-subject-token': one.token }
    expect((await call('HEAD', tokens(), { headers })).status).toBe(200)
    expect((await call('DELETE', tokens(), { headers })).status).toBe(204)
    expect((await call('GET', tokens(), { headers })).status).toBe(401)
    expect((await one.glance('GET', '/images')).status).toBe(200)
    expect((await one.nova('GET', '/servers')).status).toBe(401)
  })

  it('lets tokens expire', async () => {
    const records = openRecords(join(home, 'keystone.db'))
    const none = { name: '', public: '', internal: '' }
    const catalog = () => ({ identity: none, image: none, compute: none })
    const keystone = await startKeystone({
      records,
      port: 0,
      faults: faultList(),
      tokenTtlMs: 40,
      region: 'R',
      catalog,
    })
    keystone.people.addProject({ id: 'p', name: 'p' })
    await keystone.people.addUser({ id: 'u', name: 'u', password: 'lab', roles: { p: ['member'] } })
    const answer = await call('POST', `${keystone.url}/auth/tokens`, { body: passwordOf('u', 'p') })
    const token = answer.headers.get('x-subject-token') ?? undefined
    const validate = keystone.validator()
    expect(validate(token)).toMatchObject({ userName: 'u', projectId: 'p', roles: ['member', 'reader'] })
    await sleep(60)
    expect(validate(token)).toBeNull()
    await keystone.close()
    records.close()
  })
})

describe('Glance', () => {
  const raw = { disk_format: 'raw', container_format: 'bare', visibility: 'private' }
  const url = (image: string, snap = 'snap') => `rbd://${cloud.clusters.a.fsid}/images/${image}/${snap}`
  const addLocation = (location: string, more: object = {}) => [
    { op: 'add', path: '/locations/-', value: { url: location, metadata: {}, ...more } },
  ]

  async function queued(who: Client = admin, fields: object = {}): Promise<string> {
    const answer = await who.glance('POST', '/images', {
      body: { ...raw, name: 'reg', owner: projects.tenant, ...fields },
    })
    expect(answer.status).toBe(201)
    return answer.json.id
  }

  async function rbdImage(name: string, options: { hasSnap?: boolean; isProtected?: boolean } = {}): Promise<string> {
    cloud.clusters.a.create('images', name, 16 * mib)
    cloud.clusters.a.write('images', name, 4 * mib, Buffer.from('hello'))
    if (options.hasSnap !== false) await cloud.clusters.a.snapCreate('images', name, 'snap')
    if (options.hasSnap !== false && options.isProtected !== false) cloud.clusters.a.snapProtect('images', name, 'snap')
    return name
  }

  async function active(): Promise<string> {
    const id = await queued()
    await rbdImage(id)
    expect((await admin.patch(id, addLocation(url(id)))).status).toBe(200)
    return id
  }

  it('makes images for another project as admin or service user, and never as a member', async () => {
    for (const who of [admin, service]) {
      const id = await queued(who)
      expect((await tenant.image(id)).json).toMatchObject({ status: 'queued', size: null, owner: projects.tenant })
      expect((await other.image(id)).status).toBe(404)
    }
    const refused = await other.glance('POST', '/images', { body: { ...raw, owner: projects.tenant } })
    expect(refused.status).toBe(403)
    expect(refused.headers.get('content-type')).toContain('text/html')
    expect(refused.text).toContain('You are not permitted to create images owned by')
  })

  it('never takes an id again, neither while it is in use nor after its image was deleted', async () => {
    const id = randomUUID()
    await queued(tenant, { id })
    expect((await tenant.glance('POST', '/images', { body: { ...raw, id } })).status).toBe(409)
    expect((await tenant.glance('DELETE', `/images/${id}`)).status).toBe(204)
    const again = await tenant.glance('POST', '/images', { body: { ...raw, id } })
    expect(again.status).toBe(409)
    expect(again.text).toContain(`Image ID ${id} already exists!`)
  })

  it('is active at once with a location, of the size in RBD and with no checksum', async () => {
    const id = await queued()
    await rbdImage(id)
    const answer = await admin.patch(id, addLocation(url(id)))
    expect(answer.status).toBe(200)
    expect(answer.json).toMatchObject({ status: 'active', size: 16 * mib, virtual_size: null, checksum: null })
    expect(answer.json.locations).toEqual([{ url: url(id), metadata: { store: 'rbd' } }])
    expect(answer.json.direct_url).toBe(url(id))
    const again = await admin.patch(id, addLocation(url(id)))
    expect(again.status).toBe(400)
    expect(again.text).toContain('already exists')
  })

  it('refuses a location that is not an image with a snapshot in its own pool', async () => {
    const id = await queued()
    await rbdImage(id, { hasSnap: false })
    const disk = `${capturedServers.flat}_disk`
    await cloud.clusters.a.snapCreate('vms', disk, 'foreign')
    const { fsid } = cloud.clusters.a
    const bad = [
      url(randomUUID()),
      url(id),
      url(id).replace(fsid, cloud.clusters.b.fsid),
      `rbd://${fsid}/vms/${disk}/foreign`,
      'file:///etc/passwd',
      'http://127.0.0.1/x',
      `rbd://${id}`,
    ]
    for (const location of bad) {
      const answer = await admin.patch(id, addLocation(location))
      expect([location, answer.status]).toEqual([location, 400])
      expect(answer.text).toContain('Invalid location')
    }
    expect((await admin.image(id)).json).toMatchObject({ status: 'queued', locations: [] })
    await cloud.clusters.a.snapRemove('vms', disk, 'foreign')
  })

  it('wants the formats before the data, and lets nobody change them after', async () => {
    const id = await queued(admin, { disk_format: null, container_format: null })
    await rbdImage(id)
    const early = await admin.patch(id, addLocation(url(id)))
    expect(early.status).toBe(400)
    expect(early.text).toContain('Properties disk_format, container_format must be set prior to saving data.')
    const formats = [
      { op: 'add', path: '/disk_format', value: 'raw' },
      { op: 'add', path: '/container_format', value: 'bare' },
    ]
    expect((await admin.patch(id, [...formats, ...addLocation(url(id))])).json.status).toBe('active')
    const late = await admin.patch(id, formats)
    expect(late.status).toBe(403)
    expect(late.text).toContain('can be only replaced for a queued image')
  })

  it('keeps nothing of a patch of which one operation is refused', async () => {
    const id = await queued()
    const protect = { op: 'replace', path: '/protected', value: true }
    expect((await admin.patch(id, [protect, ...addLocation(url(id))])).status).toBe(400)
    expect((await admin.image(id)).json.protected).toBe(false)
  })

  it('hides locations and refuses them to everybody when it is told to, endpoint by endpoint', async () => {
    cloud.glance.set({ showLocations: { public: false, internal: true } })
    const id = await queued()
    await rbdImage(id)
    const answer = await admin.patch(id, addLocation(url(id)))
    expect(answer.status).toBe(403)
    expect(answer.text).toContain('It&#x27;s not allowed to add locations if locations are invisible.')
    expect((await admin.image(id)).json).not.toHaveProperty('locations')
    const headers = { 'x-auth-token': admin.token, 'content-type': 'application/openstack-images-v2.1-json-patch' }
    const inside = `${cloud.urls.glanceInternal}/v2/images/${id}`
    const body = JSON.stringify(addLocation(url(id)))
    expect((await call('PATCH', inside, { raw: body, headers })).json.status).toBe('active')
  })

  it('takes a second location, and deletes its RBD image when that is removed; the last one stays', async () => {
    const id = await active()
    const second = await rbdImage(randomUUID())
    expect((await admin.patch(id, addLocation(url(second)))).json.locations).toHaveLength(2)
    expect((await admin.patch(id, [{ op: 'remove', path: '/locations/1' }])).status).toBe(200)
    expect(inPool(second)).toBe(false)
    expect((await admin.patch(id, [{ op: 'remove', path: '/locations/0' }])).text).toContain(
      'Cannot remove last location',
    )
    const emptied = await admin.patch(id, [{ op: 'replace', path: '/locations', value: [] }])
    expect([emptied.status, inPool(id)]).toEqual([403, true])
  })

  it('knows add, replace and remove of properties, owners and unknown content types', async () => {
    const id = await queued()
    const add = { op: 'add', path: '/mine', value: '1' }
    expect((await admin.patch(id, [add, { ...add, value: '2' }])).json.mine).toBe('2')
    expect((await admin.patch(id, [{ op: 'replace', path: '/none', value: '1' }])).status).toBe(409)
    expect((await admin.patch(id, [{ op: 'remove', path: '/mine' }])).json).not.toHaveProperty('mine')
    expect((await admin.patch(id, [{ op: 'replace', path: '/status', value: 'active' }])).status).toBe(403)
    const owner = { op: 'replace', path: '/owner', value: projects.other }
    expect((await tenant.patch(id, [owner])).status).toBe(403)
    expect((await admin.patch(id, [owner])).json.owner).toBe(projects.other)
    expect((await admin.glance('PATCH', `/images/${id}`, { body: [add] })).status).toBe(415)
  })

  it('stores validation_data as told, for sha512 only', async () => {
    const id = await queued()
    await rbdImage(id)
    const hashes = { checksum: 'd41d8cd98f00b204e9800998ecf8427e', os_hash_value: 'cf'.repeat(64) }
    const sha256 = addLocation(url(id), { validation_data: { ...hashes, os_hash_algo: 'sha256' } })
    const refused = await admin.patch(id, sha256)
    expect([refused.status, (await admin.image(id)).json.status]).toEqual([409, 'queued'])
    expect(refused.text).toContain('os_hash_algo must be sha512, not sha256')
    const sha512 = addLocation(url(id), { validation_data: { ...hashes, os_hash_algo: 'sha512' } })
    expect((await admin.patch(id, sha512)).json).toMatchObject({ ...hashes, os_hash_algo: 'sha512' })
  })

  it('deletes neither what is protected nor what has a child, and everything else with its data', async () => {
    const id = await active()
    const protect = (value: boolean) => admin.patch(id, [{ op: 'replace', path: '/protected', value }])
    await protect(true)
    expect((await admin.glance('DELETE', `/images/${id}`)).status).toBe(403)
    await protect(false)
    cloud.clusters.a.clone({ pool: 'images', image: id, snap: 'snap' }, { pool: 'vms', image: `child-of-${id}` })
    const inUse = await admin.glance('DELETE', `/images/${id}`)
    expect(inUse.status).toBe(409)
    expect(inUse.text).toContain('in use through the backend store outside of Glance')
    expect((await admin.image(id)).json.status).toBe('active')
    expect(cloud.clusters.a.info('images', id).snaps).toMatchObject([{ name: 'snap', isProtected: true }])
    cloud.clusters.a.remove('vms', `child-of-${id}`)
    expect((await admin.glance('DELETE', `/images/${id}`)).status).toBe(204)
    expect(inPool(id)).toBe(false)
    expect((await admin.glance('DELETE', `/images/${id}`)).status).toBe(404)
  })

  it('leaves an RBD image alone that a queued image does not know, and deletes an unprotected snap', async () => {
    const orphan = await queued()
    await rbdImage(orphan)
    expect((await admin.glance('DELETE', `/images/${orphan}`)).status).toBe(204)
    expect(inPool(orphan)).toBe(true)
    const id = await queued()
    await rbdImage(id, { isProtected: false })
    await admin.patch(id, addLocation(url(id)))
    expect((await admin.glance('DELETE', `/images/${id}`)).status).toBe(204)
    expect(inPool(id)).toBe(false)
  })

  const octets = { 'content-type': 'application/octet-stream' }
  const upload = (id: string, raw: BodyInit, headers: Record<string, string> = octets) =>
    admin.glance('PUT', `/images/${id}/file`, { raw, headers })
  const chunked = (bytes: Buffer) =>
    new ReadableStream({
      start(controller) {
        for (let at = 0; at < bytes.length; at += 64 << 10) controller.enqueue(bytes.subarray(at, at + (64 << 10)))
        controller.close()
      },
    })

  it('takes an upload of known and of unknown size, and gives the same bytes back', async () => {
    const bytes = Buffer.concat([randomBytes(5 * mib), Buffer.alloc(6 * mib), randomBytes(777)])
    for (const body of [bytes, chunked(bytes)]) {
      const id = await queued()
      expect((await upload(id, body)).status).toBe(204)
      const image = (await admin.image(id)).json
      expect(image).toMatchObject({ status: 'active', size: bytes.length, virtual_size: bytes.length })
      expect(image).toMatchObject({ checksum: expect.stringMatching(/^[0-9a-f]{32}$/), os_hash_algo: 'sha512' })
      expect(cloud.clusters.a.info('images', id).snaps).toMatchObject([{ name: 'snap', isProtected: true }])
      const headers = { 'x-auth-token': admin.token }
      const download = await fetch(`${cloud.urls.glance}/v2/images/${id}/file`, { headers })
      expect(bytes.equals(Buffer.from(await download.arrayBuffer()))).toBe(true)
      expect((await upload(id, 'x')).text).toContain('Image status transition from active to saving is not allowed')
    }
  })

  it('refuses an upload of the wrong type, over a clone of that name, over the cap and over the quota', async () => {
    const id = await queued()
    expect((await upload(id, 'x', { 'content-type': 'application/json' })).status).toBe(415)
    await rbdImage(id)
    expect((await upload(id, 'x')).status).toBe(409)
    expect((await admin.image(id)).json.status).toBe('queued')
    expect(inPool(id)).toBe(true)
    const big = await queued()
    cloud.glance.set({ imageSizeCap: mib })
    expect((await upload(big, chunked(randomBytes(2 * mib)))).status).toBe(413)
    expect((await admin.image(big)).json.status).toBe('queued')
    cloud.glance.set({ imageSizeCap: 2 ** 40, maxBytesPerProject: 1 })
    expect((await upload(big, 'xx')).status).toBe(413)
    expect(inPool(big)).toBe(false)
    cloud.glance.set({ maxBytesPerProject: 0, maxImagesPerProject: 1 })
    const body = { ...raw, owner: projects.tenant }
    expect((await admin.glance('POST', '/images', { body })).status).toBe(413)
  })

  it('lists by property, in pages, and only what the asker may see', async () => {
    const instance = randomUUID()
    const ids: string[] = []
    for (const _ of [1, 2, 3]) ids.push(await queued(admin, { instance_uuid: instance }))
    const first = await tenant.glance(
      'GET',
      `/images?instance_uuid=${instance}&status=queued&limit=2&sort=created_at:asc`,
    )
    expect(first.json.images).toHaveLength(2)
    const rest = await tenant.glance('GET', String(first.json.next).replace('/v2', ''))
    const listed = [...first.json.images, ...rest.json.images].map((image: { id: string }) => image.id)
    expect([...listed].sort()).toEqual([...ids].sort())
    expect(rest.json).not.toHaveProperty('next')
    expect((await other.glance('GET', `/images?instance_uuid=${instance}`)).json.images).toEqual([])
    expect(
      (await admin.glance('GET', `/images?owner=${projects.tenant}&limit=1000`)).json.images.length,
    ).toBeGreaterThan(3)
  })

  it('answers 401 in HTML without a token, and names its only store', async () => {
    const answer = await call('GET', `${cloud.urls.glance}/v2/images`, { headers: { 'x-auth-token': 'bad' } })
    expect(answer.status).toBe(401)
    expect(answer.headers.get('www-authenticate')).toBe(`Keystone uri="${cloud.urls.keystone}"`)
    expect(answer.text).toContain('<h1>401 Unauthorized</h1>')
    expect((await tenant.glance('GET', '/info/stores')).json).toEqual({ stores: [{ id: 'rbd', default: 'true' }] })
  })

  it('has the location API of 2024.2 only when it is told to', async () => {
    const id = await queued()
    await rbdImage(id)
    const post = () => service.glance('POST', `/images/${id}/locations`, { body: { url: url(id) } })
    expect((await post()).status).toBe(404)
    expect((await call('GET', `${cloud.urls.glance}/versions`)).text).not.toContain('v2.17')
    cloud.glance.set({ hasLocationApi: true, showLocations: { public: false, internal: false } })
    expect((await call('GET', `${cloud.urls.glance}/versions`)).text).toContain('v2.17')
    expect((await post()).status).toBe(202)
    await until('an active image', async () => (await tenant.image(id)).json.status === 'active')
    expect((await service.glance('GET', `/images/${id}/locations`)).json).toMatchObject([{ url: url(id) }])
    expect((await tenant.glance('GET', `/images/${id}/locations`)).status).toBe(403)
  })
})

describe('Nova', () => {
  it('shows a server by microversion and by role', async () => {
    const path = `/servers/${capturedServers.clone}`
    const asAdmin = (await admin.nova('GET', path)).json.server
    expect(asAdmin).toMatchObject({
      'OS-EXT-SRV-ATTR:host': 'compute-01',
      'OS-EXT-STS:vm_state': 'active',
      'OS-EXT-STS:task_state': null,
      'OS-EXT-STS:power_state': 1,
      flavor: { disk: 1, original_name: 'lab.1' },
      tags: ['gold'],
      tenant_id: projects.tenant,
    })
    const asTenant = (await tenant.nova('GET', path, { version: '2.1' })).json.server
    expect(asTenant).not.toHaveProperty('OS-EXT-SRV-ATTR:host')
    expect(asTenant).not.toHaveProperty('tags')
    expect(asTenant.flavor).toHaveProperty('id')
    expect((await tenant.nova('GET', path, { version: '2.94' })).status).toBe(406)
    expect((await tenant.nova('GET', path, { version: 'x' })).status).toBe(400)
  })

  it('hides the servers of other projects, and lists them all to an administrator', async () => {
    const path = `/servers/${capturedServers.clone}`
    const message = `Instance ${capturedServers.clone} could not be found.`
    expect((await other.nova('GET', path)).json).toEqual({ itemNotFound: { code: 404, message } })
    expect((await other.nova('GET', '/servers/detail?all_tenants=1')).status).toBe(403)
    expect((await other.nova('GET', '/servers')).json.servers).toEqual([])
    const all = await service.nova('GET', '/servers/detail?all_tenants=1&tags=gold&limit=1')
    expect(all.json.servers).toMatchObject([{ id: capturedServers.clone }])
    const bad = { 'x-auth-token': 'x' }
    expect((await call('GET', `${cloud.urls.nova}/servers`, { headers: bad })).status).toBe(401)
  })

  it('sets, shows and removes tags, and tells of it', async () => {
    const { id } = await addServer()
    const before = await lastSeq()
    expect((await tenant.nova('PUT', `/servers/${id}/tags/snapshot`)).status).toBe(201)
    expect((await tenant.nova('PUT', `/servers/${id}/tags/snapshot`)).status).toBe(204)
    expect((await tenant.nova('GET', `/servers/${id}/tags/snapshot`)).status).toBe(204)
    expect((await tenant.nova('GET', `/servers/${id}/tags/none`)).status).toBe(404)
    expect((await tenant.nova('DELETE', `/servers/${id}/tags/none`)).status).toBe(404)
    expect((await tenant.nova('PUT', `/servers/${id}/tags`, { body: { tags: ['a', 'b'] } })).json).toEqual({
      tags: ['a', 'b'],
    })
    expect((await tenant.nova('DELETE', `/servers/${id}/tags/a`)).status).toBe(204)
    expect((await tenant.nova('GET', `/servers/${id}/tags`)).json).toEqual({ tags: ['b'] })
    expect((await tenant.nova('GET', `/servers/${id}/tags`, { version: '2.25' })).status).toBe(404)
    expect((await tenant.nova('PUT', `/servers/${id}/tags/a,b`)).status).toBe(400)
    const sent = (await cloud.nova.notify.after(before, 0)).map(messageOf)
    const versioned = sent.filter((message) => message.event_type === 'instance.update')
    expect(versioned.map((message) => message.payload['nova_object.data'].tags)).toEqual([
      ['snapshot'],
      ['a', 'b'],
      ['b'],
    ])
    expect(versioned[0].publisher_id).toBe('nova-api:controller-01')
  })

  it('stops, starts, pauses and unpauses, and refuses what does not fit the state', async () => {
    const { id } = await addServer()
    const act = (name: string) => tenant.nova('POST', `/servers/${id}/action`, { body: { [name]: null } })
    const before = await lastSeq()
    expect((await act('os-stop')).status).toBe(202)
    await idle(id)
    expect((await tenant.nova('GET', `/servers/${id}`)).json.server.status).toBe('SHUTOFF')
    expect(await eventsAfter(before)).toEqual([
      'u(powering-off)',
      'instance.power_off.start',
      'u(null)',
      'instance.power_off.end',
    ])
    const again = await act('os-stop')
    expect(again.status).toBe(409)
    expect(again.json.conflictingRequest.message).toBe(
      `Cannot 'os-stop' instance ${id} while it is in vm_state stopped`,
    )
    await act('os-start')
    await idle(id)
    await act('pause')
    await idle(id)
    expect(cloud.guests.find(id)?.state).toBe('paused')
    await act('unpause')
    await idle(id)
    expect((await tenant.nova('GET', `/servers/${id}`)).json.server.status).toBe('ACTIVE')
    expect((await act('frobnicate')).status).toBe(400)
  })

  it('snapshots a clone directly: queued, active, flat, nothing left on the disk', async () => {
    const { id } = await addServer()
    const before = await lastSeq()
    const image = await createImage(id)
    const made = (await tenant.image(image)).json
    expect(made).toMatchObject({
      status: 'queued',
      disk_format: null,
      container_format: null,
      min_disk: 1,
      visibility: 'private',
      image_type: 'snapshot',
      instance_uuid: id,
      hw_qemu_guest_agent: 'yes',
    })
    await idle(id)
    const image_ = (await tenant.image(image)).json
    expect(image_).toMatchObject({ status: 'active', size: 2 ** 30, checksum: null, disk_format: 'raw' })
    const rbd = cloud.clusters.a.info('images', image)
    expect([rbd.parent, rbd.snaps.map((snap) => [snap.name, snap.isProtected])]).toEqual([null, [['snap', true]]])
    expect(snapsOf(id)).toEqual([])
    expect(await eventsAfter(before)).toEqual([
      'u(image_snapshot_pending)',
      'u(image_snapshot)',
      'u(image_snapshot)',
      'instance.snapshot.start',
      'u(image_pending_upload)',
      'u(image_uploading)',
      'u(null)',
      'instance.snapshot.end',
    ])
    const booted = await addServer({ image: { id: image } })
    expect(cloud.clusters.a.info('vms', `${booted.id}_disk`).parent).toMatchObject({ pool: 'images', image })
  })

  it('is busy while it snapshots', async () => {
    const { id } = await addServer()
    cloud.nova.set({ waitsMs: { clone: 10_000 } })
    await createImage(id)
    await until('the work', () => cloud.nova.get(id).taskState === 'image_uploading')
    const second = await tenant.nova('POST', `/servers/${id}/action`, { body: { createImage: { name: 'x' } } })
    expect(second.json.conflictingRequest.message).toContain('while it is in task_state image_uploading')
    cloud.nova.set({ waitsMs: { clone: 0 } })
    await idle(id)
  })

  it('goes the long way for a flat disk whose base image is gone: suspended, converted, uploaded', async () => {
    const { id } = await addServer({ disk: 'flat', image: { id: randomUUID(), isGone: true } })
    cloud.nova.set({ waitsMs: { convert: 10_000 } })
    const before = await lastSeq()
    const image = await createImage(id)
    await until('the guest to be suspended', () => cloud.guests.find(id)?.state === 'suspended')
    expect((await tenant.image(image)).json.status).toBe('queued')
    expect(existsSync(join(home, 'cloud', 'guests', `${id}.sock`))).toBe(false)
    cloud.nova.set({ waitsMs: { convert: 0 } })
    await until('the long way', () => cloud.nova.get(id).taskState === null, 20_000)
    expect(cloud.guests.find(id)?.state).toBe('running')
    expect((await tenant.image(image)).json).toMatchObject({ status: 'active', checksum: expect.any(String) })
    const states = (await eventsAfter(before)).filter((event) => event.startsWith('u('))
    expect(states.slice(3)).toEqual([
      'u(image_pending_upload)',
      'u(image_uploading)',
      'u(image_pending_upload)',
      'u(image_uploading)',
      'u(null)',
    ])
  }, 30_000)

  it('fails without a fallback where Glance hides locations, and deletes image and clone', async () => {
    const { id } = await addServer()
    cloud.glance.set({ showLocations: { public: false, internal: true } })
    const before = await lastSeq()
    const image = await createImage(id)
    await idle(id)
    expect((await tenant.image(image)).status).toBe(404)
    expect([inPool(image), snapsOf(id)]).toEqual([false, []])
    expect((await eventsAfter(before)).slice(-2)).toEqual(['u(null)', 'compute.exception'])
    const failed = (await cloud.nova.notify.after(before, 0)).filter(({ routing_key }) =>
      routing_key.endsWith('.error'),
    )
    expect(failed.map(messageOf)).toMatchObject([
      { event_type: 'snapshot_instance', payload: { args: { image_id: image, instance: { uuid: id } } } },
      { event_type: 'compute.exception', payload: { 'nova_object.data': { exception: 'ImageNotAuthorized' } } },
    ])
    const actions = (await tenant.nova('GET', `/servers/${id}/os-instance-actions`)).json.instanceActions
    expect(actions).toMatchObject([{ action: 'createImage', message: 'Error' }])
    const path = `/servers/${id}/os-instance-actions/${actions[0].request_id}`
    expect((await tenant.nova('GET', path)).json.instanceAction.events).toMatchObject([
      { event: 'compute_snapshot_instance', result: 'Error' },
    ])
  })

  it('cannot delete a protected image when it fails: the image stays queued and nothing else is left', async () => {
    const { id } = await addServer()
    cloud.glance.set({ showLocations: { public: false, internal: true } })
    cloud.nova.set({ waitsMs: { start: 200 } })
    const image = await createImage(id)
    await admin.patch(image, [{ op: 'replace', path: '/protected', value: true }])
    await idle(id)
    expect((await tenant.image(image)).json).toMatchObject({ status: 'queued', protected: true })
    expect([inPool(image), snapsOf(id)]).toEqual([false, []])
  })

  it('fails when a clone of that name exists, and leaves that clone', async () => {
    const { id } = await addServer()
    cloud.nova.set({ waitsMs: { clone: 10_000 } })
    const image = await createImage(id)
    await until('its snapshot', () => snapsOf(id).length === 1)
    cloud.clusters.a.create('images', image, mib)
    cloud.nova.set({ waitsMs: { clone: 0 } })
    await idle(id)
    expect((await tenant.image(image)).status).toBe(404)
    expect([inPool(image), snapsOf(id)]).toEqual([true, []])
  })

  it('takes the long way when Ceph forbids it to write to the pool', async () => {
    const { id } = await addServer({ disk: 'flat' })
    cloud.nova.set({ failNext: { phase: 'clone', is: 'forbidden' }, waitsMs: { convert: 10_000 } })
    const image = await createImage(id)
    await until('the guest to be suspended', () => cloud.guests.find(id)?.state === 'suspended')
    // its upload meets a clone of that name
    cloud.clusters.a.create('images', image, mib)
    cloud.nova.set({ waitsMs: { convert: 0 } })
    await idle(id)
    expect((await tenant.image(image)).status).toBe(404)
    expect(inPool(image)).toBe(true)
  })

  it('only clears its task state when the image was deleted meanwhile', async () => {
    const { id } = await addServer()
    cloud.nova.set({ waitsMs: { register: 10_000 } })
    const before = await lastSeq()
    const image = await createImage(id)
    await until('the work', () => inPool(image))
    await tenant.glance('DELETE', `/images/${image}`)
    cloud.nova.set({ waitsMs: { register: 0 } })
    await idle(id)
    expect(inPool(image)).toBe(false)
    expect((await eventsAfter(before)).at(-1)).toBe('u(null)')
  })

  it('deletes a server with its disk', async () => {
    const { id } = await addServer()
    const before = await lastSeq()
    expect((await tenant.nova('DELETE', `/servers/${id}`)).status).toBe(204)
    await until('the end', async () => (await tenant.nova('GET', `/servers/${id}`)).status === 404)
    expect(cloud.clusters.a.images('vms')).not.toContain(`${id}_disk`)
    expect((await eventsAfter(before)).filter((event) => !event.startsWith('u('))).toEqual([
      'instance.delete.start',
      'instance.shutdown.start',
      'instance.shutdown.end',
      'instance.delete.end',
    ])
  })

  it('leaks a disk that has a snapshot, without a word', async () => {
    const { id } = await addServer()
    await cloud.clusters.a.snapCreate('vms', `${id}_disk`, 'foreign')
    await tenant.nova('DELETE', `/servers/${id}`)
    await until('the end', async () => (await tenant.nova('GET', `/servers/${id}`)).status === 404)
    expect(snapsOf(id)).toEqual(['foreign'])
  })

  it('puts both formats on the bus under different message ids, the legacy one with a token', async () => {
    const { id } = await addServer()
    const before = await lastSeq()
    await createImage(id)
    await idle(id)
    const bus = await call('GET', `${cloud.urls.control}/bus?after=${String(before)}`)
    const starts = (bus.json as Delivery[])
      .map(messageOf)
      .filter(({ event_type }) => event_type.endsWith('snapshot.start'))
    expect(starts.map(({ event_type }) => event_type)).toEqual([
      'compute.instance.snapshot.start',
      'instance.snapshot.start',
    ])
    expect(starts[0].message_id).not.toBe(starts[1].message_id)
    expect(starts[0]._context_auth_token).toMatch(/^gAAAAA/)
    expect(starts[1]._context_auth_token).toBeNull()
    expect(starts[1].payload['nova_object.data']).toMatchObject({
      uuid: id,
      host: 'compute-01',
      task_state: 'image_snapshot',
    })
    expect(starts[0].payload).not.toHaveProperty('snapshot_image_id')
  })

  it('waits on the bus for what is to come, and forgets what was acknowledged', async () => {
    const { id } = await addServer()
    const before = await lastSeq()
    const waiting = call('GET', `${cloud.urls.control}/bus?after=${String(before)}&wait_ms=3000`)
    await tenant.nova('PUT', `/servers/${id}/tags/x`)
    const [first] = (await waiting).json as Delivery[]
    expect(first?.routing_key).toBe('notifications.info')
    await call('DELETE', `${cloud.urls.control}/bus?through=${String(first?.seq)}`)
    expect((await cloud.nova.notify.after(0, 0))[0]?.routing_key).toBe('versioned_notifications.info')
  })
})

describe('a guest', () => {
  const socketOf = (id: string) => join(home, 'cloud', 'guests', `${id}.sock`)
  const syncBytes = (id: number) =>
    Buffer.concat([
      Buffer.from([0xff]),
      Buffer.from(`{"execute":"guest-sync-delimited","arguments":{"id":${String(id)}}}\n`),
    ])

  it('freezes and thaws through its agent, and its disk shows it', async () => {
    const { id, disk } = await addServer()
    const agent = await agentOf(socketOf(id))
    agent.write('{"execute": "half')
    agent.write(syncBytes(77))
    await until('the sync', () => agent.lines.some((line) => line === '\xff{"return":77}'))
    expect(await agent.ask('guest-ping')).toBe('{"return":{}}')
    expect(JSON.parse(await agent.ask('guest-info')).return.version).toBe('7.2.0')
    expect(await agent.ask('guest-fsfreeze-status')).toBe('{"return":"thawed"}')
    expect(await agent.ask('guest-fsfreeze-freeze')).toBe('{"return":1}')
    await cloud.clusters.a.snapCreate('vms', disk.image, 'while-frozen')
    expect(await agent.ask('guest-fsfreeze-status')).toBe('{"return":"frozen"}')
    expect(await agent.ask('guest-fsfreeze-freeze')).toContain('has been disabled: the agent is in frozen state')
    expect(await agent.ask('guest-fsfreeze-thaw')).toBe('{"return":1}')
    expect(await agent.ask('guest-fsfreeze-thaw')).toBe('{"return":0}')
    expect(await agent.ask('guest-shutdown')).toContain('has not been found')
    await agent.close()
    await cloud.clusters.a.snapCreate('vms', disk.image, 'after')
    const guest = (await call('GET', `${cloud.urls.control}/guests/${id}`)).json
    expect(guest).toMatchObject({ isFrozen: false, refusals: 1, freezes: [{ thawedAtMs: expect.any(Number) }] })
    const evidence = (snap: string) =>
      call('GET', `${cloud.urls.control}/evidence?pool=vms&image=${disk.image}&snap=${snap}`)
    expect((await evidence('while-frozen')).json).toMatchObject({ isFrozen: true, isTorn: false })
    expect((await evidence('after')).json).toMatchObject({ isFrozen: false })
  })

  it('holds its heartbeats back while frozen and writes them after', async () => {
    const { id, disk } = await addServer()
    const agent = await agentOf(socketOf(id))
    await agent.ask('guest-fsfreeze-freeze')
    const frozen = cloud.clusters.a.fingerprint('vms', disk.image, null)
    await until('a heartbeat that waits', () => (cloud.guests.find(id)?.queued ?? 0) > 0)
    expect(cloud.clusters.a.fingerprint('vms', disk.image, null)).toBe(frozen)
    await agent.ask('guest-fsfreeze-thaw')
    expect(cloud.clusters.a.fingerprint('vms', disk.image, null)).not.toBe(frozen)
    await agent.close()
  })

  it('hears one client at a time', async () => {
    const { id } = await addServer()
    const first = await agentOf(socketOf(id))
    await first.ask('guest-ping')
    const second = await agentOf(socketOf(id))
    second.write('{"execute":"guest-ping"}\n')
    await sleep(50)
    expect(second.lines).toEqual([])
    await first.close()
    await until('the answer', () => second.lines.length === 1)
    await second.close()
  })

  it('may have no agent, a silent one, or one that freezes and does not answer', async () => {
    expect(existsSync(socketOf(demoServers.require))).toBe(false)
    const silent = await agentOf(socketOf(demoServers.prefer))
    await expect(silent.ask('guest-ping')).rejects.toThrow('in vain')
    await silent.close()
    const { id } = await addServer({ agent: 'hanging' })
    const hanging = await agentOf(socketOf(id))
    expect(await hanging.ask('guest-ping')).toBe('{"return":{}}')
    await expect(hanging.ask('guest-fsfreeze-freeze')).rejects.toThrow('in vain')
    expect(cloud.guests.find(id)?.isFrozen).toBe(true)
    await hanging.close()
    const next = await agentOf(socketOf(id))
    expect(await next.ask('guest-fsfreeze-thaw')).toBe('{"return":1}')
    await next.close()
  })
})

describe('the world', () => {
  it('has the servers of the captured notifications with their queued images, and no others', async () => {
    const image = (await service.image('059fd825-a0be-4af9-a1e9-3fcf3b1ac0cb')).json
    expect(image).toMatchObject({ status: 'queued', owner: projects.tenant, instance_uuid: capturedServers.orphan })
    expect(image.created_at).toBe('2026-11-23T01:31:24Z')
    const queued = await service.glance('GET', `/images?instance_uuid=${capturedServers.clone}&status=queued`)
    expect(queued.json.images).toHaveLength(6)
    expect((await service.nova('GET', '/servers/09ab4bca-ad45-42b3-86a3-f60c015ff50e')).status).toBe(404)
  })

  it('is told whole by the control port', async () => {
    const world = (await call('GET', `${cloud.urls.control}/world`)).json
    const disk = (name: string) => world.clusters.a.pools.vms.find((image: { name: string }) => image.name === name)
    expect(disk(`${demoServers.clone}_disk`)).toMatchObject({ sizeBytes: 10 * 2 ** 30, watchers: 1, opens: true })
    expect(disk(`${demoServers.clone}_disk`).parent.pool).toBe('images')
    expect(disk(`${demoServers.noLayering}_disk`).features).not.toContain('layering')
    expect(world.clusters.b.pools.vms).toMatchObject([{ name: `${demoServers.otherCluster}_disk`, parent: null }])
  })

  it('survives kill -9: tokens, images, frozen guests, and Nova forgets the snapshot it was at', async () => {
    const dataDir = join(home, 'killed')
    const run = async () => {
      const program = join(import.meta.dirname, '../../infra/cloud/main.ts')
      const env = { ...process.env, RBDSNAP_CLOUD_DATA_DIR: dataDir, RBDSNAP_CLOUD_PAXOS_PROPOSE_INTERVAL_MS: '20' }
      const child = spawn(process.execPath, [program], { env, stdio: ['ignore', 'pipe', 'inherit'] })
      await once(child.stdout, 'data')
      const { urls } = JSON.parse(readFileSync(join(dataDir, 'cloud.json'), 'utf8')) as Pick<Cloud, 'urls'>
      return { child, urls }
    }
    const before = await run()
    const one = await client({ urls: before.urls } as Cloud, 'tenant', 'tenant')
    await call('PUT', `${before.urls.control}/nova`, { body: { waitsMs: { flatten: 60_000 } } })
    const body = { createImage: { name: 'lost' } }
    const made = await one.nova('POST', `/servers/${capturedServers.cloneTooFull}/action`, { body })
    const path = `/servers/${capturedServers.cloneTooFull}`
    const taskState = async () => (await one.nova('GET', path)).json.server['OS-EXT-STS:task_state'] as string | null
    await until('the work', async () => (await taskState()) === 'image_uploading')
    const agent = await agentOf(join(dataDir, 'guests', `${capturedServers.clone}.sock`))
    await agent.ask('guest-fsfreeze-freeze')
    await sleep(100)
    before.child.kill('SIGKILL')
    await once(before.child, 'exit')

    const after = await run()
    try {
      expect(after.urls).toEqual(before.urls)
      expect(await taskState()).toBeNull()
      expect((await one.image(made.json.image_id)).json.status).toBe('queued')
      const guest = (await call('GET', `${after.urls.control}/guests/${capturedServers.clone}`)).json
      expect(guest).toMatchObject({ isFrozen: true, freezes: [{ thawedAtMs: null }] })
      const again = await agentOf(join(dataDir, 'guests', `${capturedServers.clone}.sock`))
      expect(await again.ask('guest-fsfreeze-thaw')).toBe('{"return":1}')
      await again.close()
      const world = (await call('GET', `${after.urls.control}/world`)).json
      const disk = world.clusters.a.pools.vms.find((image: { name: string }) =>
        image.name.startsWith(capturedServers.cloneTooFull),
      )
      expect(disk.snaps).toHaveLength(1)
    } finally {
      after.child.kill('SIGTERM')
      await once(after.child, 'exit')
    }
  }, 20_000)
})
