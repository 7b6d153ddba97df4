import { createHash, randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { setImmediate } from 'node:timers/promises'
import { createConnection } from 'node:net'
import type { Fault } from '../../infra/cloud/http.ts'
import type { Cloud } from '../../infra/cloud/main.ts'
import { startPowerAction } from '../../infra/cloud/nova-actions.ts'
import { projects, users } from '../../infra/cloud/world.ts'
import { glance } from '../../shared/adapters/glance.ts'
import { guestAgent } from '../../shared/adapters/guest-agent.ts'
import { guestNovaPause } from '../../shared/adapters/guest-nova-pause.ts'
import { type Credentials, type Identity, keystone } from '../../shared/adapters/keystone.ts'
import { nova } from '../../shared/adapters/nova.ts'
import type { ComputeWorld } from './compute.contract.ts'
import { clock, setting } from './embedded-cloud.ts'
import type { GuestWorld } from './guest.contract.ts'
import type { IdentityWorld } from './identity.contract.ts'
import type { ImagesWorld } from './images.contract.ts'

const mebibyte = 1024 * 1024
const tenant = { project: projects.tenant, user: users.tenant }
const admin = { projectId: projects.admin, roles: ['admin'] }

function credentialsOf(cloud: Cloud): Credentials {
  return {
    authUrl: setting(cloud, 'OS_AUTH_URL'),
    username: setting(cloud, 'OS_USERNAME'),
    password: setting(cloud, 'OS_PASSWORD'),
    projectName: setting(cloud, 'OS_PROJECT_NAME'),
    region: setting(cloud, 'OS_REGION_NAME'),
  }
}

const identityOf = (cloud: Cloud): Identity => keystone(credentialsOf(cloud), clock)

/** The next call of a service goes wrong. */
function harm(cloud: Cloud, service: string) {
  return (method: string | undefined, when: Fault['when'], does: Fault['does']) =>
    cloud.faults.add({ service, ...(method === undefined ? {} : { method }), when, does, times: 1 })
}

export async function identityWorld(cloud: Cloud): Promise<IdentityWorld> {
  const credentials = credentialsOf(cloud)
  const own = await identityOf(cloud).token(AbortSignal.timeout(5_000))
  const ask = (method: string, path: string, token: string, body?: unknown) =>
    fetch(`${cloud.urls.keystone}${path}`, {
      method,
      headers: { 'x-auth-token': own, 'x-subject-token': token, 'content-type': 'application/json' },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    })
  const next = harm(cloud, 'keystone')
  return {
    credentials,
    endpoints: {
      image: { public: cloud.urls.glance, internal: cloud.urls.glanceInternal },
      compute: { public: cloud.urls.nova, internal: cloud.urls.nova },
    },
    async applicationCredential() {
      const shown = (await (await ask('GET', '/auth/tokens', own)).json()) as { token: { user: { id: string } } }
      const path = `/users/${shown.token.user.id}/application_credentials`
      const made = await ask('POST', path, own, { application_credential: { name: `rbdsnap-${randomUUID()}` } })
      const { application_credential: c } = (await made.json()) as {
        application_credential: { id: string; secret: string }
      }
      return { applicationCredentialId: c.id, applicationCredentialSecret: c.secret }
    },
    takes: async (token) => (await ask('GET', '/auth/tokens', token)).status === 200,
    async revoke(token) {
      await ask('DELETE', '/auth/tokens', token)
    },
    cutOff: (method, when) => next(method, when, { is: 'drop' }),
    answer: (status, body) => next('POST', 'before', { is: 'answer', status, body }),
    close: async () => cloud.faults.clear(),
  }
}

export function imagesWorld(cloud: Cloud): ImagesWorld {
  const cluster = cloud.clusters.a
  const service = cloud.glance
  const identity = identityOf(cloud)
  const next = harm(cloud, 'glance')
  const url = (id: string) => `rbd://${cluster.fsid}/images/${id}/snap`
  return {
    images: glance(identity),
    project: projects.tenant,
    otherProject: projects.other,
    async makeVolume(id) {
      cluster.create('images', id, 8 * mebibyte)
      await cluster.snapCreate('images', id, 'snap')
      cluster.snapProtect('images', id, 'snap')
      return { url: url(id), sizeBytes: 8 * mebibyte }
    },
    volumeExists: async (id) => cluster.images('images').includes(id),
    async md5OfVolume(id) {
      const bytes = cluster.read('images', id, 'snap', 0, cluster.info('images', id).sizeBytes)
      return createHash('md5').update(bytes).digest('hex')
    },
    async queuedByNova(instance, inherited = {}) {
      const properties = { ...inherited, image_type: 'snapshot', instance_uuid: instance, base_image_ref: randomUUID() }
      return service.create(admin, { owner: projects.tenant, visibility: 'private', ...properties }).id
    },
    async show(id) {
      const image = service.all().find((row) => row.id === id && row.status !== 'deleted')
      if (!image) return null
      const { status, owner, visibility, properties } = image
      return {
        status,
        owner,
        visibility,
        isProtected: image.protected,
        diskFormat: image.disk_format,
        containerFormat: image.container_format,
        minDiskGib: image.min_disk,
        properties,
      }
    },
    remove: (id) => service.remove(admin, id),
    async activate(id) {
      const changes = [
        { op: 'replace', path: '/disk_format', value: 'raw' },
        { op: 'replace', path: '/container_format', value: 'bare' },
        { op: 'add', path: '/locations/-', value: { url: url(id), metadata: {} } },
      ]
      await service.patch(admin, id, changes, 'internal')
    },
    async share(id) {
      await service.patch(admin, id, [{ op: 'replace', path: '/visibility', value: 'shared' }], 'internal')
    },
    async use(id) {
      const child = { pool: 'vms', image: randomUUID() }
      cluster.clone({ pool: 'images', image: id, snap: 'snap' }, child)
      return { release: async () => cluster.remove(child.pool, child.image) }
    },
    hideLocations: (isHidden) => service.set({ showLocations: { public: !isHidden, internal: !isHidden } }),
    withLocationApi(isOffered) {
      service.set({ hasLocationApi: isOffered })
      return glance(identity)
    },
    slowDelete: (ms) => service.set({ deleteMs: ms }),
    limitSize: (bytes) => service.set({ imageSizeCap: bytes }),
    cutOff: (method, when) => next(method, when, { is: 'drop' }),
    answer: (status, headers = {}) =>
      next(undefined, 'before', { is: 'answer', status, headers, body: '<html><h1>busy</h1> or not Glance</html>' }),
    hang: () => next(undefined, 'before', { is: 'hang' }),
    voidTokens: () => next(undefined, 'before', { is: 'answer', status: 401, body: '<h1>401 Unauthorized</h1>' }),
    close: async () => cloud.faults.clear(),
  }
}

export function computeWorld(cloud: Cloud): ComputeWorld {
  const next = harm(cloud, 'nova')
  const context = { requestId: 'req-test', userName: 'tenant', projectName: 'tenant', roles: ['member'], ...tenant }
  const error = (status: number) => ({
    is: 'answer' as const,
    status,
    body: { error: { code: status, message: 'no' } },
  })
  return {
    compute: nova(identityOf(cloud)),
    async makeServer(tags) {
      const name = `server-${randomUUID().slice(0, 8)}`
      const made = await cloud.factory.addServer({ name, ...tenant, disk: 'flat', sizeGib: 1, agent: 'none', tags })
      const { id, project, user } = made
      return { id, name, project, user, rootGib: made.flavor.rootGib, image: made.imageId ?? '' }
    },
    tagsOf: async (instance) => cloud.nova.get(instance).tags,
    async stop(instance) {
      cloud.nova.save(instance, { vmState: 'stopped', powerState: 4 }, context)
    },
    async intoBin(instance) {
      cloud.nova.save(instance, { vmState: 'soft-delete', powerState: 4 }, context)
    },
    async remove(instance) {
      const answer = await fetch(`${cloud.urls.nova}/servers/${instance}`, {
        method: 'DELETE',
        headers: { 'x-auth-token': await identityOf(cloud).token(AbortSignal.timeout(5_000)) },
      })
      if (answer.status !== 204) throw new Error(`DELETE server: ${String(answer.status)}`)
    },
    cutOff: (method, when) => next(method, when, { is: 'drop' }),
    answer: (status, body) =>
      next(undefined, 'before', body === undefined ? error(status) : { is: 'answer', status, body }),
    hang: () => next(undefined, 'before', { is: 'hang' }),
    voidTokens: () => next(undefined, 'before', error(401)),
    close: async () => cloud.faults.clear(),
  }
}

/** Stopped by the hypervisor: nobody in the guest is needed. */
export function pausedWorld(cloud: Cloud): GuestWorld {
  const identity = identityOf(cloud)
  const context = { requestId: randomUUID(), userName: 'tenant', projectName: 'tenant', roles: ['member'], ...tenant }
  return {
    guest: guestNovaPause(identity, nova(identity), { timeoutMs: 5_000 }),
    async makeServer() {
      const name = `paused-${randomUUID().slice(0, 8)}`
      return (await cloud.factory.addServer({ name, ...tenant, disk: 'flat', sizeGib: 1, agent: 'none' })).id
    },
    isFrozen: async (instance) => cloud.guests.find(instance)?.state === 'paused',
    needsNoAgent: true,
    async heldByAnother(instance) {
      startPowerAction(cloud.nova, cloud.nova.get(instance), 'pause', context)
      while (cloud.nova.get(instance).taskState !== null) await setImmediate()
    },
    close: async () => undefined,
  }
}

export function guestWorld(cloud: Cloud): GuestWorld {
  const socket = setting(cloud, 'RBDSNAP_GUEST_SOCKET')
  return {
    guest: guestAgent({ socket, timeoutMs: 400 }),
    async makeServer(agent) {
      const name = `guest-${randomUUID().slice(0, 8)}`
      return (await cloud.factory.addServer({ name, ...tenant, disk: 'flat', sizeGib: 1, agent })).id
    },
    isFrozen: async (instance) => cloud.guests.find(instance)?.isFrozen ?? false,
    async freezes(instance) {
      const found = cloud.guests.find(instance)
      return { count: found?.freezes.length ?? 0, refused: found?.refusals ?? 0 }
    },
    stop: async (instance) => cloud.guests.setState(instance, 'off'),
    pause: async (instance, isPaused) => cloud.guests.setState(instance, isPaused ? 'paused' : 'running'),
    async halfARequest(instance) {
      const client = createConnection(socket.replace('{instance}', instance))
      await once(client, 'connect')
      await new Promise<void>((resolve) => client.write('{"execute": "guest-fsfr', () => resolve()))
      client.end()
      await once(client, 'close')
    },
    async neverAnswersFreeze(instance, never) {
      cloud.guests.setAgent(instance, never ? 'hanging' : 'on')
    },
    close: async () => undefined,
  }
}
