import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { createHash, randomUUID } from 'node:crypto'
import type { Cloud } from '../../infra/cloud/main.ts'
import { cephDashboard } from '../../shared/adapters/ceph-dashboard.ts'
import { glance } from '../../shared/adapters/glance.ts'
import { keystone, type Credentials, type Identity } from '../../shared/adapters/keystone.ts'
import { nova } from '../../shared/adapters/nova.ts'
import { Failure, failures } from '../../shared/failures.ts'
import { projects, users } from '../../infra/cloud/world.ts'
import { clock, openTestCloud, setting } from '../contract/embedded-cloud.ts'
import { liar, lies, type Told } from './liar.ts'
import { count } from './tally.ts'

/**
 * Every request of every call of an adapter, answered wrongly in every way: an HTML page, nothing, half of the JSON, other types.
 * A code each, never a crash; and what the call says was done has been done.
 */
interface Scene {
  /** @param url of who stands between */
  act: (url: string) => Promise<unknown>
  /** asked of the service itself when the call said that it succeeded, with what it gave */
  isTrue: (given: unknown) => unknown
}

const kib = 1024
const tenant = { project: projects.tenant, user: users.tenant }
const admin = { projectId: projects.admin, roles: ['admin'] }
const signal = () => AbortSignal.timeout(20_000)

let cloud: Cloud
let close: () => Promise<void>
let identity: Identity

beforeAll(async () => {
  ;({ cloud, close } = await openTestCloud(1))
  identity = keystone(credentials(), clock)
  await identity.token(signal())
}, 30_000)
afterAll(() => close())

const credentials = (): Credentials => ({
  authUrl: setting(cloud, 'OS_AUTH_URL'),
  username: setting(cloud, 'OS_USERNAME'),
  password: setting(cloud, 'OS_PASSWORD'),
  projectName: setting(cloud, 'OS_PROJECT_NAME'),
  region: setting(cloud, 'OS_REGION_NAME'),
})

const volumes = (url: string) =>
  cephDashboard({
    urls: [url],
    user: setting(cloud, 'RBDSNAP_CEPH_USER'),
    password: setting(cloud, 'RBDSNAP_CEPH_PASSWORD'),
    fsid: setting(cloud, 'RBDSNAP_CEPH_FSID'),
    clock,
    patience: { everyMs: 20, settleMs: 100 },
  })
const images = (url: string) => glance(identity, { endpoint: url })
const compute = (url: string) => nova(identity, { endpoint: url })

async function disk() {
  const image = { pool: 'vms', image: `${randomUUID()}_disk` }
  const { a } = cloud.clusters
  a.create(image.pool, image.image, 64 * kib, ['layering', 'exclusive-lock', 'object-map', 'fast-diff', 'deep-flatten'])
  const snap = { ...image, snap: 'source' }
  await a.snapCreate(snap.pool, snap.image, snap.snap)
  a.snapProtect(snap.pool, snap.image, snap.snap)
  const child = { pool: 'images', image: randomUUID() }
  return { image, snap, child, cluster: a }
}

function snapsOf({ pool, image }: { pool: string; image: string }) {
  return cloud.clusters.a.info(pool, image).snaps
}
const exists = ({ pool, image }: { pool: string; image: string }) => cloud.clusters.a.images(pool).includes(image)

const ceph: Record<string, () => Promise<Scene>> = {
  async find() {
    const { image } = await disk()
    return {
      act: (url) => volumes(url).find(image, signal()),
      isTrue: (it) => (it as { sizeBytes: number }).sizeBytes === 64 * kib,
    }
  },
  async 'find nothing'() {
    const image = { pool: 'images', image: randomUUID() }
    return { act: (url) => volumes(url).find(image, signal()), isTrue: (it) => it === null }
  },
  async ensureSnapshot() {
    const { image } = await disk()
    return {
      act: (url) => volumes(url).ensureSnapshot({ ...image, snap: 'new' }, signal()),
      isTrue: () => snapsOf(image).some((s) => s.name === 'new'),
    }
  },
  async ensureProtected() {
    const { image, cluster } = await disk()
    await cluster.snapCreate(image.pool, image.image, 'new')
    return {
      act: (url) => volumes(url).ensureProtected({ ...image, snap: 'new' }, signal()),
      isTrue: () => snapsOf(image).some((s) => s.name === 'new' && s.isProtected),
    }
  },
  async ensureSnapshotAbsent() {
    const { image, snap } = await disk()
    return {
      act: (url) => volumes(url).ensureSnapshotAbsent(snap, signal()),
      isTrue: () => snapsOf(image).length === 0,
    }
  },
  async ensureClone() {
    const { snap, child } = await disk()
    return {
      act: (url) => volumes(url).ensureClone(snap, child, signal()),
      isTrue: (it) =>
        it !== 'verified' || (exists(child) && cloud.clusters.a.info(child.pool, child.image).parent !== null),
    }
  },
  async flatten() {
    const { snap, child, cluster } = await disk()
    cluster.clone(snap, child, ['layering'])
    return {
      act: (url) => volumes(url).flatten(child, signal()),
      isTrue: (it) =>
        (it as { is: string }).is !== 'done' || cloud.clusters.a.info(child.pool, child.image).parent === null,
    }
  },
  async ensureCopy() {
    const { snap, child } = await disk()
    const temporary = { ...child, image: `rbdsnap-${child.image}-copy` }
    return {
      act: (url) => volumes(url).ensureCopy(snap, temporary, child, signal()),
      isTrue: (it) => (it as { is: string }).is !== 'done' || exists(child),
    }
  },
  async ensureAbsent() {
    const { child, cluster } = await disk()
    cluster.create(child.pool, child.image, 64 * kib)
    await cluster.snapCreate(child.pool, child.image, 'snap')
    cluster.snapProtect(child.pool, child.image, 'snap')
    return { act: (url) => volumes(url).ensureAbsent(child, ['snap'], signal()), isTrue: () => !exists(child) }
  },
}

const row = (id: string) => cloud.glance.all().find((image) => image.id === id && image.status !== 'deleted')
const record = (id: string) => ({
  id,
  name: 'n',
  owner: projects.tenant,
  minDiskGib: 1,
  properties: { rbdsnap_run: 'r' },
})
function queued(): string {
  return cloud.glance.create(admin, { owner: projects.tenant, visibility: 'private', instance_uuid: randomUUID() }).id
}
async function ready() {
  const id = randomUUID()
  await glance(identity).ensureQueued(record(id), signal())
  return id
}

const glanceCalls: Record<string, () => Promise<Scene>> = {
  async find() {
    const id = queued()
    return { act: (url) => images(url).find(id, signal()), isTrue: (it) => (it as { id: string }).id === id }
  },
  async 'find nothing'() {
    return { act: (url) => images(url).find(randomUUID(), signal()), isTrue: (it) => it === null }
  },
  async ofInstance() {
    const id = queued()
    const instance = String(row(id)?.properties['instance_uuid'])
    return {
      act: (url) => images(url).ofInstance(instance, projects.tenant, signal()),
      isTrue: (it) => (it as unknown[]).length === 1,
    }
  },
  async ensureQueued() {
    const id = randomUUID()
    return { act: (url) => images(url).ensureQueued(record(id), signal()), isTrue: () => row(id)?.status === 'queued' }
  },
  async claim() {
    const id = queued()
    return {
      act: (url) => images(url).claim(id, { minDiskGib: 1, properties: { rbdsnap_run: 'r' } }, signal()),
      isTrue: () => row(id)?.protected === true && row(id)?.properties['rbdsnap_run'] === 'r',
    }
  },
  async ensureLocation() {
    const id = await ready()
    const { a } = cloud.clusters
    a.create('images', id, 64 * kib)
    await a.snapCreate('images', id, 'snap')
    a.snapProtect('images', id, 'snap')
    return {
      act: (url) => images(url).ensureLocation(id, `rbd://${a.fsid}/images/${id}/snap`, 64 * kib, signal()),
      isTrue: () => row(id)?.status === 'active',
    }
  },
  async upload() {
    const id = await ready()
    const bytes = Buffer.alloc(64 * kib, 'a disk')
    const md5 = createHash('md5').update(bytes).digest('hex')
    return {
      act: (url) => images(url).upload(id, new Blob([bytes]).stream(), signal()),
      isTrue: (it) => row(id)?.status === 'active' && (it as { md5: string }).md5 === md5,
    }
  },
  async setProtected() {
    const id = queued()
    return { act: (url) => images(url).setProtected(id, true, signal()), isTrue: () => row(id)?.protected === true }
  },
  async setProperties() {
    const id = queued()
    return {
      act: (url) => images(url).setProperties(id, { a: 'b' }, signal()),
      isTrue: () => row(id)?.properties['a'] === 'b',
    }
  },
  async removeProperties() {
    const id = queued()
    return {
      act: (url) => images(url).removeProperties(id, ['instance_uuid'], signal()),
      isTrue: () => row(id)?.properties['instance_uuid'] === undefined,
    }
  },
  async remove() {
    const id = await ready()
    const { a } = cloud.clusters
    a.create('images', id, 64 * kib)
    await a.snapCreate('images', id, 'snap')
    a.snapProtect('images', id, 'snap')
    await images(cloud.urls.glance).ensureLocation(id, `rbd://${a.fsid}/images/${id}/snap`, 64 * kib, signal())
    return {
      act: (url) => images(url).remove(id, () => {}, signal()),
      isTrue: (it) => ['removed', 'gone'].includes((it as { is: string }).is) === (row(id) === undefined),
    }
  },
  async ensureQueuedAbsent() {
    const id = queued()
    return {
      act: (url) => images(url).ensureQueuedAbsent(id, signal()),
      isTrue: (it) => it === 'kept' || row(id) === undefined,
    }
  },
}

async function server(tags: string[]) {
  const { id } = await cloud.factory.addServer({ name: 's', ...tenant, disk: 'flat', sizeGib: 1, agent: 'none', tags })
  return id
}

const novaCalls: Record<string, () => Promise<Scene>> = {
  async find() {
    const id = await server([])
    return { act: (url) => compute(url).find(id, signal()), isTrue: (it) => (it as { id: string }).id === id }
  },
  async 'find nothing'() {
    return { act: (url) => compute(url).find(randomUUID(), signal()), isTrue: (it) => it === null }
  },
  async bears() {
    const tag = randomUUID()
    const id = await server([tag])
    return { act: (url) => compute(url).bears(id, tag, signal()), isTrue: (it) => it === true }
  },
  async usesImage() {
    const image = cloud.nova.get(await server([])).imageId ?? ''
    return { act: (url) => compute(url).usesImage(image, signal()), isTrue: (it) => it === true }
  },
  async tagged() {
    const tag = randomUUID()
    await server([tag])
    return { act: (url) => compute(url).tagged(tag, signal()), isTrue: (it) => (it as unknown[]).length === 1 }
  },
  async ensureTagAbsent() {
    const tag = randomUUID()
    const id = await server([tag])
    return {
      act: (url) => compute(url).ensureTagAbsent(id, tag, signal()),
      isTrue: () => !cloud.nova.get(id).tags.includes(tag),
    }
  },
}

const keystoneCalls: Record<string, () => Promise<Scene>> = {
  async token() {
    const asked = (url: string) => keystone({ ...credentials(), authUrl: url }, clock)
    return { act: (url) => asked(url).token(signal()), isTrue: (it) => typeof it === 'string' && it.length > 10 }
  },
  async endpoint() {
    const asked = (url: string) => keystone({ ...credentials(), authUrl: url }, clock)
    return { act: (url) => asked(url).endpoint('image', signal()), isTrue: (it) => it === cloud.urls.glance }
  },
}

describe.each([
  ["the Ceph manager's dashboard", () => setting(cloud, 'RBDSNAP_CEPH_URLS').split(',')[0] ?? '', ceph],
  ['Glance', () => cloud.urls.glance, glanceCalls],
  ['Nova', () => cloud.urls.nova, novaCalls],
  ['Keystone', () => setting(cloud, 'OS_AUTH_URL'), keystoneCalls],
] as const)('wrong answers of %s', (what, service, calls) => {
  it.each(Object.keys(calls))('%s: a code each, and no false success', async (name) => {
    const scene = calls[name]
    if (!scene) throw new Error(name)
    const requests = await requestsOf(service(), await scene())
    const cases = Array.from({ length: requests }, (_, nth) => nth).flatMap((nth) =>
      lies.flatMap((lie) => (['instead', 'after'] as const).map((when): Told => ({ nth, lie, when }))),
    )
    const bad: string[] = []
    const waiting = cases.values()
    const worker = async () => {
      for (const told of waiting) {
        const wrong = await tryWith(service(), told, await scene())
        if (wrong !== null) bad.push(`request ${told.nth} answered with ${told.lie} (${told.when}): ${wrong}`)
      }
    }
    await Promise.all(Array.from({ length: atOnce }, worker))
    const counted = { calls: 1, cases: cases.length, bad: bad.length, frozenMs: 0 }
    count({ what: `wrong answers of ${what}`, way: 'wrong answer', ...counted })
    expect(bad).toEqual([])
  })
})

/** Most of the time is the adapters' patience with a service that does not serve. */
const atOnce = 16

/** With nothing spoilt it succeeds: so many requests. */
async function requestsOf(service: string, scene: Scene): Promise<number> {
  const between = await liar(service, null)
  expect(await scene.isTrue(await scene.act(between.url))).toBe(true)
  await between.close()
  expect(between.heard()).toBeGreaterThan(0)
  return between.heard()
}

async function tryWith(service: string, told: Told, scene: Scene): Promise<string | null> {
  const between = await liar(service, told)
  const ended = await scene.act(between.url).then(
    (given) => ({ given }),
    (error: unknown) => ({ error }),
  )
  await between.close()
  if ('error' in ended) {
    const { error } = ended
    if (error instanceof Failure) return error.code in failures && error.code !== 'UNKNOWN' ? null : error.message
    return `it threw ${String(error)}`
  }
  return (await scene.isTrue(ended.given)) === true ? null : `it said ${JSON.stringify(ended.given)}, which is not so`
}
