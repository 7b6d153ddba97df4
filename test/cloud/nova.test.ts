import { afterAll, afterEach, describe, expect, it } from 'vitest'
import type { Delivery } from '../../infra/cloud/notifications.ts'
import { capturedServers, projects } from '../../infra/cloud/world.ts'
import { call, until } from './openstack-client.ts'
import { messageOf, openScene } from './openstack-scene.ts'

const scene = await openScene()
const { cloud, tenant, other, admin, service, addServer, createImage, idle, snapsOf, lastSeq, eventsAfter } = scene
afterAll(() => scene.close())
afterEach(() => scene.reset())

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
    const versioned = sent.filter(({ event_type }) => event_type === 'instance.update')
    expect(versioned.map(({ payload }) => payload['nova_object.data'].tags)).toEqual([['snapshot'], ['a', 'b'], ['b']])
    expect(versioned[0]?.publisher_id).toBe('nova-api:controller-01')
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
    const bus = await call<Delivery[]>('GET', `${cloud.urls.control}/bus?after=${String(before)}`)
    const starts = bus.json.map(messageOf).filter(({ event_type }) => event_type.endsWith('snapshot.start'))
    expect(starts.map(({ event_type }) => event_type)).toEqual([
      'compute.instance.snapshot.start',
      'instance.snapshot.start',
    ])
    expect(starts[0]?.message_id).not.toBe(starts[1]?.message_id)
    expect(starts[0]?._context_auth_token).toMatch(/^gAAAAA/)
    expect(starts[1]?._context_auth_token).toBeNull()
    expect(starts[1]?.payload['nova_object.data']).toMatchObject({
      uuid: id,
      host: 'compute-01',
      task_state: 'image_snapshot',
    })
    expect(starts[0]?.payload).not.toHaveProperty('snapshot_image_id')
  })

  it('waits on the bus for what is to come, and forgets what was acknowledged', async () => {
    const { id } = await addServer()
    const before = await lastSeq()
    const waiting = call<Delivery[]>('GET', `${cloud.urls.control}/bus?after=${String(before)}&wait_ms=3000`)
    await tenant.nova('PUT', `/servers/${id}/tags/x`)
    const [first] = (await waiting).json
    expect(first?.routing_key).toBe('notifications.info')
    await call('DELETE', `${cloud.urls.control}/bus?through=${String(first?.seq)}`)
    expect((await cloud.nova.notify.after(0, 0))[0]?.routing_key).toBe('versioned_notifications.info')
  })
})
