import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { startCloud } from '../../infra/cloud/main.ts'
import type { Delivery } from '../../infra/cloud/notifications.ts'
import type { NewServer } from '../../infra/cloud/servers.ts'
import { projects, users } from '../../infra/cloud/world.ts'
import { type Client, client, until } from './openstack-client.ts'

interface Message {
  event_type: string
  message_id: string
  publisher_id: string
  _context_auth_token: string | null
  payload: { 'nova_object.data': { tags: string[]; task_state: string | null } }
}
export function messageOf({ body }: Delivery): Message {
  const envelope = JSON.parse(body) as { 'oslo.message': string }
  return JSON.parse(envelope['oslo.message']) as Message
}

const usualWaits = { start: 10, snapshot: 0, clone: 0, flatten: 0, register: 0, convert: 0, upload: 0, end: 0 }
const usualGlance = {
  showLocations: { public: true, internal: true },
  hasLocationApi: false,
  imageSizeCap: 2 ** 40,
  maxBytesPerProject: 0,
  maxImagesPerProject: 0,
}

/** A cloud of its own, its users, and hands in it. */
export async function openScene() {
  const home = mkdtempSync(join(tmpdir(), 'os-'))
  const cloud = await startCloud({
    dataDir: home,
    paxosProposeIntervalMs: 20,
    nova: { destroyRetries: 2, destroyRetryIntervalMs: 50, notificationFormat: 'both', waitsMs: usualWaits },
  })
  const tenant = await client(cloud.urls, 'tenant', 'tenant')
  return {
    home,
    cloud,
    tenant,
    other: await client(cloud.urls, 'other', 'other'),
    admin: await client(cloud.urls, 'admin', 'admin'),
    service: await client(cloud.urls, 'rbdsnap', 'service'),

    addServer(wish: Partial<NewServer> = {}) {
      const owner = { project: projects.tenant, user: users.tenant }
      return cloud.factory.addServer({ name: 'vm', disk: 'clone', sizeGib: 1, agent: 'on', ...owner, ...wish })
    },
    async createImage(server: string, who: Client = tenant): Promise<string> {
      const body = { createImage: { name: 'snap' } }
      return (await who.nova('POST', `/servers/${server}/action`, { body })).json.image_id
    },
    /** until Nova does nothing with the server any more */
    idle: (server: string) => until('an idle server', () => cloud.nova.get(server).taskState === null),
    snapsOf: (server: string) => cloud.clusters.a.info('vms', `${server}_disk`).snaps.map((snap) => snap.name),
    inPool: (image: string) => cloud.clusters.a.images('images').includes(image),
    lastSeq: async () => (await cloud.nova.notify.after(0, 0, 1_000_000)).at(-1)?.seq ?? 0,
    /** the versioned events after `seq`, an update as its new task state */
    async eventsAfter(seq: number): Promise<string[]> {
      const deliveries = await cloud.nova.notify.after(seq, 0)
      const versioned = deliveries.filter(({ routing_key }) => routing_key.startsWith('versioned')).map(messageOf)
      return versioned.map(({ event_type, payload }) =>
        event_type === 'instance.update' ? `u(${payload['nova_object.data'].task_state ?? 'null'})` : event_type,
      )
    },
    /** as a cloud is set up when nobody asks for anything */
    reset() {
      cloud.faults.clear()
      cloud.nova.set({ waitsMs: usualWaits, failNext: null })
      cloud.glance.set(usualGlance)
    },
    async close() {
      await cloud.close()
      rmSync(home, { recursive: true, force: true })
    },
  }
}
