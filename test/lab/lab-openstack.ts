import { createHash, randomUUID } from 'node:crypto'
import { spawn } from 'node:child_process'
import type { Lab, Person } from '../../infra/lab/lab.ts'
import { glance } from '../../shared/adapters/glance.ts'
import { type Credentials, type Identity, keystone } from '../../shared/adapters/keystone.ts'
import { nova } from '../../shared/adapters/nova.ts'
import { clock } from '../contract/embedded-cloud.ts'
import type { ComputeWorld } from '../contract/compute.contract.ts'
import type { IdentityWorld } from '../contract/identity.contract.ts'
import type { ImagesWorld } from '../contract/images.contract.ts'
import { asPerson, must, rbd, until, type Ask } from './hands.ts'
import { openProxy } from './proxy.ts'

/** The real Keystone, Glance and Nova, each behind a proxy that can make a call go wrong, and what is made in them removed. */

const mebibyte = 1024 * 1024

/** What an operator of this cloud gives us. */
export function credentialsOf({ env, authUrl }: Lab): Credentials {
  return {
    authUrl: env['OS_AUTH_URL'] ?? authUrl,
    username: env['OS_USERNAME'],
    password: env['OS_PASSWORD'],
    projectName: env['OS_PROJECT_NAME'],
    applicationCredentialId: env['OS_APPLICATION_CREDENTIAL_ID'],
    applicationCredentialSecret: env['OS_APPLICATION_CREDENTIAL_SECRET'],
    region: env['OS_REGION_NAME'],
    interface: env['OS_INTERFACE'],
  }
}

export function passwordOf({ authUrl, region }: Lab, { name, password, project }: Person): Credentials {
  return { authUrl, region, username: name, password, projectName: project }
}

/** A project of the suite's own, so that whatever is in it is the suite's to remove. */
export async function ownProject(lab: Lab): Promise<{ id: string; owner: Ask; close: () => Promise<void> }> {
  const admin = await asPerson(lab, lab.people.admin)
  const project = { name: `rbdsnap-test-${randomUUID().slice(0, 8)}`, domain_id: 'default' }
  const made = (await must(admin('POST', `${lab.authUrl}/projects`, { project }), 201)) as { project: { id: string } }
  const { id } = made.project
  const idOf = async (kind: 'users' | 'roles', name: string) => {
    const found = (await must(admin('GET', `${lab.authUrl}/${kind}?name=${name}`), 200)) as Record<
      string,
      { id: string }[]
    >
    return found[kind]?.[0]?.id ?? ''
  }
  const user = await idOf('users', lab.people.tenant.name)
  const role = await idOf('roles', 'member')
  await must(admin('PUT', `${lab.authUrl}/projects/${id}/users/${user}/roles/${role}`), 204)
  const quota = { quota_set: { instances: -1, cores: -1, ram: -1 } }
  await must(admin('PUT', `${lab.nova}/os-quota-sets/${id}`, quota), 200)
  return {
    id,
    owner: await asPerson(lab, lab.people.tenant, id),
    async close() {
      await removeImages(lab, admin, id)
      await must(admin('DELETE', `${lab.authUrl}/projects/${id}`), 204)
    },
  }
}

async function removeImages(lab: Lab, admin: Ask, project: string): Promise<void> {
  const glanceUrl = `${lab.glance.internal}/v2/images`
  for (;;) {
    const { images } = (await must(admin('GET', `${glanceUrl}?owner=${project}&visibility=all&limit=100`), 200)) as {
      images: { id: string; protected: boolean }[]
    }
    if (images.length === 0) return
    for (const image of images) {
      if (image.protected) await must(patch(admin, glanceUrl, image.id, [['/protected', false]]), 200)
      await must(admin('DELETE', `${glanceUrl}/${image.id}`), 204)
    }
  }
}

function patch(ask: Ask, glanceUrl: string, id: string, changes: [path: string, value: unknown][]) {
  const body = changes.map(([path, value]) => ({ op: path === '/locations/-' ? 'add' : 'replace', path, value }))
  return ask('PATCH', `${glanceUrl}/${id}`, body, { 'content-type': 'application/openstack-images-v2.1-json-patch' })
}

interface Shown {
  [property: string]: unknown
  id: string
  status: string
}
const fields =
  'id name status visibility owner protected min_disk min_ram size virtual_size checksum os_hash_algo os_hash_value os_hidden disk_format container_format tags created_at updated_at self file schema locations direct_url stores'
const ownFields = new Set(fields.split(' '))

export async function imagesWorld(lab: Lab): Promise<ImagesWorld> {
  const admin = await asPerson(lab, lab.people.admin)
  const [project, other] = [await ownProject(lab), await ownProject(lab)]
  const proxy = await openProxy(lab.glance.internal)
  const glanceUrl = `${lab.glance.internal}/v2/images`
  const pool = lab.ceph.pools.images
  const volumes: string[] = []
  const url = (id: string) => `rbd://${lab.ceph.fsid}/${pool}/${id}/snap`
  const busy = '<html><head><title>503</title></head><body><h1>busy</h1> or not Glance</body></html>'
  const exists = async (id: string) => (await rbd(lab, 'ls', pool)).split('\n').includes(id)

  return {
    images: glance(keystone(credentialsOf(lab), clock), { endpoint: proxy.url }),
    project: project.id,
    otherProject: other.id,
    async makeVolume(id) {
      volumes.push(id)
      await rbd(lab, 'create', '--size', '8M', `${pool}/${id}`)
      await rbd(lab, 'snap', 'create', '--no-progress', `${pool}/${id}@snap`)
      await rbd(lab, 'snap', 'protect', `${pool}/${id}@snap`)
      return { url: url(id), sizeBytes: 8 * mebibyte }
    },
    volumeExists: exists,
    md5OfVolume: (id) => md5Of(lab, `${pool}/${id}@snap`),
    async queuedByNova(instance, inherited = {}) {
      const properties = { ...inherited, image_type: 'snapshot', instance_uuid: instance, base_image_ref: randomUUID() }
      const made = await must(
        project.owner('POST', glanceUrl, { name: 'of Nova', visibility: 'private', ...properties }),
        201,
      )
      return (made as Shown).id
    },
    async show(id) {
      const { status, body } = await admin('GET', `${glanceUrl}/${id}`)
      if (status === 404) return null
      const image = body as Shown
      return {
        status: image.status,
        owner: String(image['owner']),
        visibility: String(image['visibility']),
        isProtected: image['protected'] === true,
        diskFormat: image['disk_format'] as string | null,
        containerFormat: image['container_format'] as string | null,
        minDiskGib: Number(image['min_disk']),
        properties: Object.fromEntries(
          Object.entries(image).flatMap(([name, value]) => (ownFields.has(name) ? [] : [[name, String(value)]])),
        ),
      }
    },
    async remove(id) {
      await must(project.owner('DELETE', `${glanceUrl}/${id}`), 204)
    },
    async activate(id) {
      const location = { url: url(id), metadata: {} }
      const formats = [
        ['/disk_format', 'raw'],
        ['/container_format', 'bare'],
      ] as [string, string][]
      await must(patch(admin, glanceUrl, id, [...formats, ['/locations/-', location]]), 200)
    },
    async share(id) {
      await must(patch(admin, glanceUrl, id, [['/visibility', 'shared']]), 200)
    },
    async use(id) {
      const child = `${pool}/${randomUUID()}`
      await rbd(lab, 'clone', `${pool}/${id}@snap`, child)
      return {
        async release() {
          await rbd(lab, 'rm', '--no-progress', child)
        },
      }
    },
    ...(lab.glance.public === lab.glance.internal
      ? {}
      : { hideLocations: (isHidden) => proxy.leadTo(isHidden ? lab.glance.public : lab.glance.internal) }),
    cutOff: proxy.cutOff,
    answer: (status, headers = {}) => proxy.answer(status, busy, headers),
    hang: proxy.hang,
    voidTokens: () => proxy.answer(401, '<h1>401 Unauthorized</h1>'),
    async close() {
      await proxy.close()
      await project.close()
      await other.close()
      for (const id of volumes) {
        if (!(await exists(id))) continue
        await rbd(lab, 'snap', 'unprotect', `${pool}/${id}@snap`).catch(() => '')
        await rbd(lab, 'snap', 'purge', '--no-progress', `${pool}/${id}`)
        await rbd(lab, 'rm', '--no-progress', `${pool}/${id}`)
      }
    },
  }
}

export function md5Of(lab: Lab, spec: string): Promise<string> {
  const hash = createHash('md5')
  const child = spawn('rbd', ['--conf', lab.ceph.conf, 'export', '--no-progress', spec, '-'], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  child.stdout.on('data', (bytes: Buffer) => hash.update(bytes))
  return new Promise((resolve, reject) => {
    child.once('error', reject)
    child.once('close', (code) =>
      code === 0 ? resolve(hash.digest('hex')) : reject(new Error(`rbd export ${spec}: ${String(code)}`)),
    )
  })
}

/** as in the adapter: tags at creation need 2.52, `networks: none` 2.37 */
const novaHeaders = { 'openstack-api-version': 'compute 2.79' }

export interface Hands {
  makeServer(tags: string[], image?: string): Promise<string>
  action(id: string, body: unknown): Promise<unknown>
  show(id: string): Promise<Record<string, unknown> | null>
  remove(id: string): Promise<void>
}

/** What a tenant does with servers; each waits until Nova has done it. */
export async function novaHands(lab: Lab, owner: Ask): Promise<Hands & { flavor: { id: string; disk: number } }> {
  const { flavors } = (await must(owner('GET', `${lab.nova}/flavors/detail`), 200)) as {
    flavors: { id: string; disk: number; ram: number }[]
  }
  const flavor = flavors.filter(({ disk }) => disk > 0).toSorted((a, b) => a.disk - b.disk || a.ram - b.ram)[0]
  if (!flavor) throw new Error('this cloud has no flavor with a disk')
  const path = (id: string) => `${lab.nova}/servers/${id}`
  const show = async (id: string) => {
    const { status, body } = await owner('GET', path(id), undefined, novaHeaders)
    return status === 404 ? null : (body as { server: Record<string, unknown> }).server
  }
  return {
    flavor,
    show,
    async makeServer(tags, image = lab.images.plain) {
      const name = `rbdsnap-test-${randomUUID().slice(0, 8)}`
      const server = { name, imageRef: image, flavorRef: flavor.id, networks: 'none', tags }
      const made = (await must(owner('POST', `${lab.nova}/servers`, { server }, novaHeaders), 202)) as {
        server: { id: string }
      }
      await until(async () => {
        const now = await show(made.server.id)
        if (now?.['status'] === 'ERROR') throw new Error(`server ${name}: ${JSON.stringify(now['fault'])}`)
        return now?.['status'] === 'ACTIVE' ? now : null
      }, `server ${name} active`)
      return made.server.id
    },
    action: async (id, body) => must(owner('POST', `${path(id)}/action`, body, novaHeaders), 202),
    async remove(id) {
      await must(owner('DELETE', path(id)), 204, 404)
      await until(async () => ((await show(id)) === null ? true : null), `server ${id} gone`)
    },
  }
}

export async function computeWorld(lab: Lab): Promise<ComputeWorld> {
  const admin = await asPerson(lab, lab.people.admin)
  const project = await ownProject(lab)
  const proxy = await openProxy(lab.nova)
  const hands = await novaHands(lab, project.owner)
  const users = (await must(admin('GET', `${lab.authUrl}/users?name=${lab.people.tenant.name}`), 200)) as {
    users: { id: string }[]
  }
  const servers: string[] = []
  const no = (status: number) => JSON.stringify({ error: { code: status, message: 'no' } })
  const json = { 'content-type': 'application/json' }
  return {
    compute: nova(keystone(credentialsOf(lab), clock), { endpoint: proxy.url }),
    async makeServer(tags) {
      const id = await hands.makeServer(tags)
      servers.push(id)
      const shown = await hands.show(id)
      const { disk: rootGib } = hands.flavor
      return {
        id,
        name: String(shown?.['name']),
        project: project.id,
        user: users.users[0]?.id ?? '',
        rootGib,
        image: lab.images.plain,
      }
    },
    async tagsOf(instance) {
      return ((await hands.show(instance))?.['tags'] ?? []) as string[]
    },
    async stop(instance) {
      await hands.action(instance, { 'os-stop': null })
    },
    remove: (instance) => hands.remove(instance),
    cutOff: proxy.cutOff,
    answer: (status, body) => proxy.answer(status, body === undefined ? no(status) : JSON.stringify(body), json),
    hang: proxy.hang,
    voidTokens: () => proxy.answer(401, no(401), json),
    async removeServers() {
      await Promise.all(servers.map((id) => project.owner('DELETE', `${lab.nova}/servers/${id}`)))
    },
    async close() {
      await proxy.close()
      await Promise.all(servers.map((id) => hands.remove(id)))
      await project.close()
    },
  }
}

export async function identityWorld(lab: Lab): Promise<IdentityWorld> {
  const service = await asPerson(lab, lab.people.service)
  const proxy = await openProxy(lab.authUrl)
  const credentials = passwordOf(lab, lab.people.service)
  const made: string[] = []
  const bare = (url: string) => url.replace(/\/+$/, '')
  const me = (await must(
    service('GET', `${lab.authUrl}/auth/tokens`, undefined, { 'x-subject-token': await tokenOf(credentials) }),
    200,
  )) as { token: { user: { id: string } } }
  const applicationCredentials = `${lab.authUrl}/users/${me.token.user.id}/application_credentials`
  return {
    credentials: { ...credentials, authUrl: proxy.url },
    endpoints: {
      image: { public: bare(lab.glance.public), internal: bare(lab.glance.internal) },
      compute: { public: bare(lab.nova), internal: bare(lab.nova) },
    },
    async applicationCredential() {
      const wanted = { application_credential: { name: `rbdsnap-test-${randomUUID().slice(0, 8)}` } }
      const { application_credential: c } = (await must(service('POST', applicationCredentials, wanted), 201)) as {
        application_credential: { id: string; secret: string }
      }
      made.push(c.id)
      return { applicationCredentialId: c.id, applicationCredentialSecret: c.secret }
    },
    async takes(token) {
      const headers = { 'x-subject-token': token }
      return (await service('GET', `${lab.authUrl}/auth/tokens`, undefined, headers)).status === 200
    },
    async revoke(token) {
      await must(service('DELETE', `${lab.authUrl}/auth/tokens`, undefined, { 'x-subject-token': token }), 204)
    },
    cutOff: proxy.cutOff,
    answer: (status, body) => proxy.answer(status, body),
    async close() {
      await proxy.close()
      for (const id of made) await must(service('DELETE', `${applicationCredentials}/${id}`), 204)
    },
  }
}

async function tokenOf(credentials: Credentials): Promise<string> {
  return identityOf(credentials).token(AbortSignal.timeout(10_000))
}
const identityOf = (credentials: Credentials): Identity => keystone(credentials, clock)
