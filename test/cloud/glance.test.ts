import { randomBytes, randomUUID } from 'node:crypto'
import { afterAll, afterEach, describe, expect, it } from 'vitest'
import { projects } from '../../infra/cloud/world.ts'
import { imageMaker, rawImage } from './glance-images.ts'
import { type Body, call, type ImagesBody } from './openstack-client.ts'
import { openScene } from './openstack-scene.ts'

const mib = 2 ** 20
const scene = await openScene()
const { cloud, tenant, other, admin, service, inPool } = scene
afterAll(() => scene.close())
afterEach(() => scene.reset())
const { url, addLocation, queued, rbdImage, active } = imageMaker(scene)

describe('Glance', () => {
  it('makes images for another project as admin or service user, and never as a member', async () => {
    for (const who of [admin, service]) {
      const id = await queued(who)
      expect((await tenant.image(id)).json).toMatchObject({ status: 'queued', size: null, owner: projects.tenant })
      expect((await other.image(id)).status).toBe(404)
    }
    const refused = await other.glance('POST', '/images', { body: { ...rawImage, owner: projects.tenant } })
    expect(refused.status).toBe(403)
    expect(refused.headers.get('content-type')).toContain('text/html')
    expect(refused.text).toContain('You are not permitted to create images owned by')
  })

  it('never takes an id again, neither while it is in use nor after its image was deleted', async () => {
    const id = randomUUID()
    await queued(tenant, { id })
    expect((await tenant.glance('POST', '/images', { body: { ...rawImage, id } })).status).toBe(409)
    expect((await tenant.glance('DELETE', `/images/${id}`)).status).toBe(204)
    const again = await tenant.glance('POST', '/images', { body: { ...rawImage, id } })
    expect(again.status).toBe(409)
    expect(again.text).toContain(`Image ID ${id} already exists!`)
  })

  it('knows add, replace and remove of properties, owners and unknown content types', async () => {
    const id = await queued()
    const add = { op: 'add', path: '/mine', value: '1' }
    expect((await admin.patch(id, [add, { ...add, value: '2' }])).json).toHaveProperty('mine', '2')
    expect((await admin.patch(id, [{ op: 'replace', path: '/none', value: '1' }])).status).toBe(409)
    expect((await admin.patch(id, [{ op: 'remove', path: '/mine' }])).json).not.toHaveProperty('mine')
    expect((await admin.patch(id, [{ op: 'replace', path: '/status', value: 'active' }])).status).toBe(403)
    const owner = { op: 'replace', path: '/owner', value: projects.other }
    expect((await tenant.patch(id, [owner])).status).toBe(403)
    expect((await admin.patch(id, [owner])).json.owner).toBe(projects.other)
    expect((await admin.glance('PATCH', `/images/${id}`, { body: [add] })).status).toBe(415)
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
  const upload = (id: string, raw: Body, headers: Record<string, string> = octets) =>
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
      expect(image).toMatchObject({
        checksum: expect.stringMatching(/^[0-9a-f]{32}$/) as unknown,
        os_hash_algo: 'sha512',
      })
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
    expect((await upload(id, 'x')).status).toBe(500)
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
    const body = { ...rawImage, owner: projects.tenant }
    expect((await admin.glance('POST', '/images', { body })).status).toBe(413)
  })

  it('lists by property, in pages, and only what the asker may see', async () => {
    const instance = randomUUID()
    const ids: string[] = []
    for (const _ of [1, 2, 3]) ids.push(await queued(admin, { instance_uuid: instance }))
    const first = await tenant.glance<ImagesBody>(
      'GET',
      `/images?instance_uuid=${instance}&status=queued&limit=2&sort=created_at:asc`,
    )
    expect(first.json.images).toHaveLength(2)
    const rest = await tenant.glance<ImagesBody>('GET', String(first.json.next).replace('/v2', ''))
    const listed = [...first.json.images, ...rest.json.images].map((image) => image.id)
    expect([...listed].sort()).toEqual([...ids].sort())
    expect(rest.json).not.toHaveProperty('next')
    expect((await other.glance<ImagesBody>('GET', `/images?instance_uuid=${instance}`)).json.images).toEqual([])
    expect(
      (await admin.glance<ImagesBody>('GET', `/images?owner=${projects.tenant}&limit=1000`)).json.images.length,
    ).toBeGreaterThan(3)
  })

  it('answers 401 in HTML without a token, and names its only store', async () => {
    const answer = await call('GET', `${cloud.urls.glance}/v2/images`, { headers: { 'x-auth-token': 'bad' } })
    expect(answer.status).toBe(401)
    expect(answer.headers.get('www-authenticate')).toBe(`Keystone uri="${cloud.urls.keystone}"`)
    expect(answer.text).toContain('<h1>401 Unauthorized</h1>')
    expect((await tenant.glance('GET', '/info/stores')).json).toEqual({ stores: [{ id: 'rbd', default: 'true' }] })
  })
})
