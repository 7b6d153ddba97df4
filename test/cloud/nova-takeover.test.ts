import { randomUUID } from 'node:crypto'
import { afterAll, afterEach, describe, expect, it } from 'vitest'
import { imageMaker } from './glance-images.ts'
import { call, until } from './openstack-client.ts'
import { openScene } from './openstack-scene.ts'

const scene = await openScene()
const { cloud, tenant, admin, addServer, createImage, idle, snapsOf, inPool } = scene
afterAll(() => scene.close())
afterEach(() => scene.reset())
const { url, addLocation } = imageMaker(scene)

const later = 60_000
const formats = [
  { op: 'add', path: '/disk_format', value: 'raw' },
  { op: 'add', path: '/container_format', value: 'bare' },
]
const protect = { op: 'replace', path: '/protected', value: true }

/** A server whose snapshot Nova can make only the long way, and Nova at it until `goOn`. */
async function longWay() {
  const { id } = await addServer({ disk: 'flat', sizeGib: 1 / 16, image: { id: randomUUID(), isGone: true } })
  cloud.nova.set({ waitsMs: { convert: later } })
  const image = await createImage(id)
  await until('the convert', () => cloud.guests.find(id)?.state === 'suspended')
  return { id, image }
}

async function goOn(id: string) {
  cloud.nova.set({ waitsMs: { start: 0, snapshot: 0, clone: 0, flatten: 0, convert: 0 } })
  await idle(id)
}

/** Our own snapshot and clone under the image's id, ready for a location. */
async function ourClone(id: string, image: string) {
  const { a } = cloud.clusters
  const source = { pool: 'vms', image: `${id}_disk`, snap: `ours-${image}` }
  await a.snapCreate(source.pool, source.image, source.snap)
  a.snapProtect(source.pool, source.image, source.snap)
  a.clone(source, { pool: 'images', image })
  await a.snapCreate('images', image, 'snap')
  a.snapProtect('images', image, 'snap')
}

/** What was seen on a Zed cloud when somebody filled the image that Nova had queued. */
describe('an image that Nova queued and somebody else fills', () => {
  it('is lost when it has no formats yet: the location is refused and Nova fails on the foreign clone', async () => {
    const { id, image } = await longWay()
    await ourClone(id, image)
    const refused = await admin.patch(image, addLocation(url(image)))
    expect(refused.status).toBe(400)
    expect(refused.text).toContain('disk_format, container_format must be set')
    await goOn(id)
    expect((await tenant.image(image)).status).toBe(404)
    expect(inPool(image)).toBe(true)
  })

  it('is active while Nova still converts, and protected it outlives the failure of Nova', async () => {
    const { id, image } = await longWay()
    await ourClone(id, image)
    expect((await admin.patch(image, [...formats, protect])).status).toBe(200)
    expect((await admin.patch(image, addLocation(url(image)))).json.status).toBe('active')
    const before = await scene.lastSeq()
    await goOn(id)
    expect((await tenant.image(image)).json).toMatchObject({ status: 'active', protected: true })
    expect((await tenant.nova('GET', `/servers/${id}`)).json.server).not.toHaveProperty('fault')
    expect((await scene.eventsAfter(before)).at(-1)).toBe('compute.exception')
  })

  it('is deleted with its data when it is active but not protected', async () => {
    const { id, image } = await longWay()
    await ourClone(id, image)
    await admin.patch(image, formats)
    expect((await admin.patch(image, addLocation(url(image)))).json.status).toBe('active')
    await goOn(id)
    expect((await tenant.image(image)).status).toBe(404)
    expect(inPool(image)).toBe(false)
  })

  it('is lost when a foreign clone comes before that of Nova and the protection after', async () => {
    const { id } = await addServer()
    cloud.nova.set({ waitsMs: { clone: later } })
    const image = await createImage(id)
    await until('its snapshot', () => snapsOf(id).length === 1)
    await ourClone(id, image)
    await goOn(id)
    expect((await admin.patch(image, [...formats, protect])).status).toBe(404)
    expect(inPool(image)).toBe(true)
  })

  it('belongs to Nova when its clone was first', async () => {
    const { id } = await addServer()
    cloud.nova.set({ waitsMs: { flatten: later } })
    const image = await createImage(id)
    await until('its clone', () => inPool(image))
    expect((await admin.patch(image, [...formats, protect])).status).toBe(200)
    await expect(ourClone(id, image)).rejects.toMatchObject({ errno: 17 })
    await goOn(id)
    expect((await tenant.image(image)).json).toMatchObject({ status: 'active', protected: true })
    expect(cloud.clusters.a.info('images', image).parent).toBeNull()
    expect(snapsOf(id)).toEqual([`ours-${image}`])
  })

  it('can be rescued where Nova fails because Glance hides locations from it', async () => {
    cloud.glance.set({ showLocations: { public: false, internal: true } })
    const { id } = await addServer()
    cloud.nova.set({ waitsMs: { start: later } })
    const image = await createImage(id)
    await admin.patch(image, [...formats, protect])
    await goOn(id)
    expect([(await tenant.image(image)).json.status, inPool(image)]).toEqual(['queued', false])
    await ourClone(id, image)
    const headers = { 'x-auth-token': admin.token, 'content-type': 'application/openstack-images-v2.1-json-patch' }
    const inside = `${cloud.urls.glanceInternal}/v2/images/${image}`
    const body = JSON.stringify(addLocation(url(image)))
    expect((await call('PATCH', inside, { raw: body, headers })).status).toBe(200)
    expect((await tenant.image(image)).json.status).toBe('active')
  })

  it('refuses everything when Nova has finished', async () => {
    const { id } = await addServer()
    const image = await createImage(id)
    await idle(id)
    expect((await admin.patch(image, formats)).text).toContain('can be only replaced for a queued image')
    await expect(ourClone(id, image)).rejects.toMatchObject({ errno: 17 })
    expect((await admin.patch(image, addLocation(url(image)))).text).toContain('already exists')
  })
})
