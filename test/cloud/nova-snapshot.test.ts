import { randomUUID } from 'node:crypto'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, afterEach, describe, expect, it } from 'vitest'
import { until } from './openstack-client.ts'
import { messageOf, openScene } from './openstack-scene.ts'

const mib = 2 ** 20
const scene = await openScene()
const { home, cloud, tenant, admin, addServer, createImage, idle, snapsOf, inPool, lastSeq, eventsAfter } = scene
afterAll(() => scene.close())
afterEach(() => scene.reset())

describe("Nova's own snapshot", () => {
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
    expect((await tenant.image(image)).json).toMatchObject({
      status: 'active',
      size: 2 ** 30,
      checksum: null,
      disk_format: 'raw',
    })
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
    const { id } = await addServer({ disk: 'flat', sizeGib: 1 / 16, image: { id: randomUUID(), isGone: true } })
    cloud.nova.set({ waitsMs: { convert: 10_000 } })
    const before = await lastSeq()
    const image = await createImage(id)
    await until('the guest to be suspended', () => cloud.guests.find(id)?.state === 'suspended')
    expect((await tenant.image(image)).json.status).toBe('queued')
    expect(existsSync(join(home, 'guests', `${id}.sock`))).toBe(false)
    cloud.nova.set({ waitsMs: { convert: 0 } })
    await until('the long way', () => cloud.nova.get(id).taskState === null)
    expect(cloud.guests.find(id)?.state).toBe('running')
    expect((await tenant.image(image)).json).toMatchObject({
      status: 'active',
      checksum: expect.any(String) as unknown,
    })
    const states = (await eventsAfter(before)).filter((event) => event.startsWith('u('))
    expect(states.slice(3)).toEqual([
      'u(image_pending_upload)',
      'u(image_uploading)',
      'u(image_pending_upload)',
      'u(image_uploading)',
      'u(null)',
    ])
  })

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
    const path = `/servers/${id}/os-instance-actions/${actions[0]?.request_id ?? ''}`
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
    const { id } = await addServer({ disk: 'flat', sizeGib: 1 / 16 })
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
})
