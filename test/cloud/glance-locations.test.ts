import { randomUUID } from 'node:crypto'
import { afterAll, afterEach, describe, expect, it } from 'vitest'
import { capturedServers } from '../../infra/cloud/world.ts'
import { imageMaker } from './glance-images.ts'
import { call, type ImageBody, until } from './openstack-client.ts'
import { openScene } from './openstack-scene.ts'

const mib = 2 ** 20
const scene = await openScene()
const { cloud, tenant, admin, service, inPool } = scene
afterAll(() => scene.close())
afterEach(() => scene.reset())
const { url, addLocation, queued, rbdImage, active } = imageMaker(scene)

describe("Glance's locations", () => {
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
    expect((await call<ImageBody>('PATCH', inside, { raw: body, headers })).json.status).toBe('active')
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
