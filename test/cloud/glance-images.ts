import { projects } from '../../infra/cloud/world.ts'
import type { openScene } from './openstack-scene.ts'
import type { Client } from './openstack-client.ts'

const mib = 2 ** 20
export const rawImage = { disk_format: 'raw', container_format: 'bare', visibility: 'private' }

/** Images in Glance and in RBD, made by hand. */
export function imageMaker({ cloud, admin }: Awaited<ReturnType<typeof openScene>>) {
  const url = (image: string, snap = 'snap') => `rbd://${cloud.clusters.a.fsid}/images/${image}/${snap}`

  const addLocation = (location: string, more: object = {}) => [
    { op: 'add', path: '/locations/-', value: { url: location, metadata: {}, ...more } },
  ]

  async function queued(who: Client = admin, fields: object = {}): Promise<string> {
    const answer = await who.glance('POST', '/images', {
      body: { ...rawImage, name: 'reg', owner: projects.tenant, ...fields },
    })
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
    await admin.patch(id, addLocation(url(id)))
    return id
  }

  return { url, addLocation, queued, rbdImage, active }
}
