import { resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { hear } from '../../shared/notification.ts'
import type { RunRecord } from '../../shared/ports/journal.ts'
import { messageVersion, type Notification } from '../../shared/run.ts'
import type { RunView } from '../../shared/view.ts'
import type { DemoCloud } from './demo-cloud.ts'
import { readEvents } from './event-files.ts'
import type { Session } from './session.ts'

/** One thing that a person would ask about: how it is brought about, and how the world must look afterwards. */
export interface Scene {
  title: string
  play: (cloud: DemoCloud, session: Session) => Promise<Staged>
  /** null when all is as it should be, else what is not */
  check: (run: RunView, runs: number, cloud: DemoCloud, staged: Staged) => Promise<string | null>
}
export interface Staged {
  instance: string
  isOurs: (record: RunRecord) => boolean
  /** of the bytes that the image must have */
  sha256?: string | null
}

const tenthOfAMinuteMs = 6_000
/** A folder that was used before holds older runs of the same servers. */
function fromNow(): Staged['isOurs'] {
  const startedAtMs = Date.now()
  return (record) => record.createdAtMs >= startedAtMs
}

/** The seed's servers (infra/cloud/world.ts). */
const server = {
  clone: 'de300001-0000-4000-8000-000000000001',
  flat: 'de300002-0000-4000-8000-000000000002',
  require: 'de300003-0000-4000-8000-000000000003',
  noLayering: 'de300004-0000-4000-8000-000000000004',
  otherCluster: 'de300005-0000-4000-8000-000000000005',
}

function byTag(title: string, instance: string, check: Scene['check']): Scene {
  return {
    title,
    check,
    async play(cloud) {
      const isOurs = fromNow()
      await cloud.tag(instance, 'snapshot')
      return { instance, isOurs }
    },
  }
}

const consistentClone: Scene = byTag('clone disk, by tag', server.clone, async (run, runs, cloud) => {
  const frozen = await evidence(cloud, run.image_id)
  return first([
    wants(run, runs, { outcome: 'active', consistency: 'filesystem', road: 'clone' }),
    frozen ? null : 'the bytes of the image do not say that the guest was frozen',
    await nothingLeft(cloud, run),
  ])
})

const flatDisk: Scene = byTag('flat disk, by tag', server.flat, async (run, runs, cloud) =>
  first([
    wants(run, runs, { outcome: 'active', consistency: 'filesystem', road: 'clone' }),
    await nothingLeft(cloud, run),
  ]),
)

const quickNova = { start: 50, snapshot: 0, clone: 0, flatten: 0, register: 0, convert: 200, upload: 0, end: 0 }

const takeOverWon: Scene = {
  title: 'createImage, Nova goes the long way: taken over',
  async play(cloud) {
    const isOurs = fromNow()
    // Long enough for us to be there first, as any disk with more than a few GiB is.
    await cloud.control('PUT', '/nova', { waitsMs: { ...quickNova, convert: 15_000 } })
    const image = { id: crypto.randomUUID(), isGone: true }
    const instance = await cloud.addServer({ name: 'demo-take-over-won', disk: 'flat', sizeGib: 2, agent: 'on', image })
    await cloud.act(instance, { createImage: { name: 'taken-over' } })
    return { instance, isOurs }
  },
  async check(run, runs, cloud) {
    const image = (await cloud.images()).find((i) => i.id === run.image_id)
    return first([
      wants(run, runs, { outcome: 'active', road: 'clone' }),
      image?.status === 'active' ? null : `the image is ${image?.status ?? 'gone'}`,
      image?.['protected'] === false ? null : 'the image is still protected',
      await nothingLeft(cloud, run),
    ])
  },
}

const takeOverLost: Scene = {
  title: 'createImage, Nova goes direct: left to Nova',
  async play(cloud) {
    const isOurs = fromNow()
    // A flatten takes Nova a while; its clone is there first all the same.
    await cloud.control('PUT', '/nova', { waitsMs: { ...quickNova, convert: 15_000, flatten: 5_000 } })
    const instance = await cloud.addServer({ name: 'demo-take-over-lost', disk: 'clone', sizeGib: 2, agent: 'none' })
    await cloud.act(instance, { createImage: { name: 'novas-own' } })
    return { instance, isOurs }
  },
  async check(run, runs, cloud) {
    const image = (await cloud.images()).find((i) => i.id === run.image_id)
    return first([
      wants(run, runs, { outcome: 'nova-did-it' }),
      image?.status === 'active' ? null : `Nova's image is ${image?.status ?? 'gone'}`,
      await nothingLeft(cloud, run),
    ])
  },
}

const required: Scene = byTag('consistency required, no guest agent', server.require, async (run, runs, cloud) => {
  const isThere = (await cloud.images()).some((i) => i.id === run.image_id)
  return first([
    wants(run, runs, { outcome: 'rejected', code: 'QUIESCE_UNAVAILABLE' }),
    isThere ? 'an image was left' : null,
    await nothingLeft(cloud, run),
  ])
})

const copied: Scene = byTag('clone refused: copied inside Ceph', server.noLayering, async (run, runs, cloud) =>
  first([
    wants(run, runs, { outcome: 'fallback', road: 'copy' }),
    run.reason ? null : 'no reason given',
    await nothingLeft(cloud, run),
  ]),
)

const uploaded: Scene = {
  title: 'disk in another cluster: streamed upload',
  async play(cloud) {
    const isOurs = fromNow()
    // Stopped, so that its bytes can be compared afterwards.
    const isStopped = async () =>
      (await cloud.control<{ vmState: string }>('GET', `/servers/${server.otherCluster}`)).vmState === 'stopped'
    if (!(await isStopped())) await cloud.act(server.otherCluster, { 'os-stop': null })
    await until(isStopped)
    const sha256 = await cloud.fingerprint({ cluster: 'b', pool: 'vms', image: `${server.otherCluster}_disk` })
    await cloud.tag(server.otherCluster, 'snapshot')
    return { instance: server.otherCluster, isOurs, sha256 }
  },
  async check(run, runs, cloud, staged) {
    const sha256 = await cloud.fingerprint({ pool: 'images', image: run.image_id, snap: 'snap' })
    const image = (await cloud.images()).find((i) => i.id === run.image_id)
    return first([
      wants(run, runs, { outcome: 'fallback', road: 'upload', consistency: 'offline' }),
      sha256 !== null && sha256 === staged.sha256 ? null : 'the bytes differ',
      image?.['rbdsnap_reason'] ? null : 'the reason is not on the image',
      await nothingLeft(cloud, run),
    ])
  },
}

const halfMade: Scene = {
  title: 'manager killed in a clone: noticed, made again',
  async play(cloud) {
    const isOurs = fromNow()
    const instance = await cloud.addServer({ name: 'demo-half-made', disk: 'clone', sizeGib: 2, agent: 'on' })
    await cloud.control('POST', '/managers/kill', { halfMadeClone: 'no-parent' })
    await cloud.tag(instance, 'snapshot')
    return { instance, isOurs }
  },
  check: async (run, runs, cloud) =>
    first([
      wants(run, runs, { outcome: 'active', road: 'clone' }),
      run.steps.some((s) => s.step === 'clone' && s.tries > 1) ? null : 'the clone was not made again',
      (await evidence(cloud, run.image_id)) ? null : 'the image reads as something else',
      await nothingLeft(cloud, run),
    ]),
}

const duplicates: Scene = {
  title: 'a duplicate and both formats: one image',
  async play(_cloud, session) {
    const pair = capturedPair()
    const [versioned] = pair
    for (const heard of [...pair, versioned])
      await session.queue.send({ v: messageVersion, step: 'ingest', tries: 0, heard })
    return { instance: versioned.instance ?? '', isOurs: (record) => record.wish.trigger.is === 'take-over' }
  },
  check: async (run, runs, cloud) => first([wants(run, runs, { outcome: 'active' }), await nothingLeft(cloud, run)]),
}

const functionKilled: Scene = {
  title: 'functions killed in the middle of a step',
  async play(cloud, session) {
    const isOurs = fromNow()
    const instance = await cloud.addServer({ name: 'demo-killed', disk: 'clone', sizeGib: 2, agent: 'none' })
    await cloud.tag(instance, 'snapshot')
    await until(async () =>
      (await session.journal.openOf(instance)).some((r) => r.message.step === 'clone' && r.claim !== null),
    )
    kill(session)
    return { instance, isOurs }
  },
  check: async (run, runs, cloud) =>
    first([wants(run, runs, { outcome: 'active', road: 'clone' }), await nothingLeft(cloud, run)]),
}

const frozenAlone: Scene = {
  title: 'all functions die while a guest is frozen',
  async play(cloud, session) {
    const isOurs = fromNow()
    const instance = await cloud.addServer({ name: 'demo-frozen', disk: 'clone', sizeGib: 2, agent: 'on' })
    await cloud.control('POST', '/faults', hangSnapCreate)
    await cloud.tag(instance, 'snapshot')
    await until(async () => (await guest(cloud, instance)).isFrozen)
    kill(session)
    return { instance, isOurs }
  },
  async check(run, runs, cloud) {
    const { isFrozen, freezes } = await guest(cloud, run.instance)
    const longestMs = Math.max(...freezes.map((f) => (f.thawedAtMs ?? Infinity) - f.frozenAtMs))
    return first([
      wants(run, runs, { outcome: 'active' }),
      isFrozen ? 'the guest is still frozen' : null,
      // The budget, rounded up to the queue's seconds, and one poll.
      longestMs <= tenthOfAMinuteMs + 2_000 ? null : `the guest was frozen for ${longestMs} ms`,
      await nothingLeft(cloud, run),
    ])
  },
}
const hangSnapCreate = {
  service: 'dashboard',
  method: 'POST',
  path: '_disk/snap$',
  when: 'before',
  does: { is: 'hang' },
  times: 1,
}

/** Those of an act run side by side; the acts one after the other, because a killed manager is killed for all. */
export const acts: Scene[][] = [
  [consistentClone, flatDisk, takeOverWon, takeOverLost, required, copied, uploaded],
  [halfMade],
  [duplicates, functionKilled],
  [frozenAlone],
]

type Wanted = Partial<Pick<RunView, 'outcome' | 'consistency' | 'road' | 'code'>>
function wants(run: RunView, runs: number, wanted: Wanted): string | null {
  if (runs !== 1) return `${runs} runs`
  for (const [name, value] of Object.entries(wanted)) {
    const found = run[name as keyof Wanted]
    if (found !== value) return `${name} is ${found ?? 'none'}, not ${value ?? 'none'}`
  }
  return null
}

function first(problems: (string | null)[]): string | null {
  return problems.find((p) => p !== null) ?? null
}

/** Neither our snapshot on the disk, nor a temporary copy, nor a clone without its image, nor the tag. */
async function nothingLeft(cloud: DemoCloud, run: RunView): Promise<string | null> {
  const { clusters, images, servers } = await cloud.control<World>('GET', '/world')
  const volumes = Object.values(clusters).flatMap((c) => Object.values(c.pools).flat())
  const snaps = volumes.flatMap((v) => (v.snaps ?? []).map((s) => `${v.name}@${s.name}`))
  const left =
    snaps.find((s) => s.endsWith(`@rbdsnap-${run.run}`)) ??
    volumes.find((v) => v.name === `rbdsnap-${run.run}-copy`)?.name
  if (left) return `${left} was left`
  const isActive = images.some((i) => i.id === run.image_id && i.status === 'active')
  if (!isActive && volumes.some((v) => v.name === run.image_id))
    return `the volume ${run.image_id} was left without its image`
  const tags = servers.find((s) => s.id === run.instance)?.tags ?? []
  return tags.includes('snapshot') ? 'the tag was left on the server' : null
}
interface World {
  clusters: Record<string, { pools: Record<string, { name: string; snaps?: { name: string }[] }[]> }>
  images: { id: string; status: string }[]
  servers: { id: string; tags: string[] }[]
}

/** What the bytes say that the guest wrote about itself; false also when there is no such image. */
async function evidence(cloud: DemoCloud, image: string): Promise<boolean> {
  const query = new URLSearchParams({ pool: 'images', image, snap: 'snap' })
  const asked = cloud.control<{ isFrozen: boolean }>('GET', `/evidence?${query.toString()}`)
  return asked.then(
    (e) => e.isFrozen,
    () => false,
  )
}

function guest(cloud: DemoCloud, instance: string) {
  return cloud.control<{ isFrozen: boolean; freezes: { frozenAtMs: number; thawedAtMs: number | null }[] }>(
    'GET',
    `/guests/${instance}`,
  )
}

function kill(session: Session): void {
  const pid = session.own?.pid('functions')
  if (pid) process.kill(pid, 'SIGKILL')
}

async function until(isTrue: () => Promise<boolean>): Promise<void> {
  const endAtMs = Date.now() + 60_000
  while (!(await isTrue())) {
    if (Date.now() > endAtMs) throw new Error('the demo waited a minute for something that did not happen')
    await new Promise((done) => setTimeout(done, 5))
  }
}

/** One createImage as Nova announced it in both formats: the same instance, within a tenth of a second. */
function capturedPair(): [Notification, Notification] {
  const folder = resolve(fileURLToPath(import.meta.url), '../../../events')
  const heard = readEvents([folder]).flatMap(({ body }) => {
    const h = hear(body)
    return h.is === 'notification' && h.event === 'instance.snapshot.start' ? [h] : []
  })
  for (const versioned of heard.filter((h) => h.format === 'versioned')) {
    const isTwin = (h: Notification) =>
      h.format === 'legacy' && h.instance === versioned.instance && Math.abs(h.atMs - versioned.atMs) < 100
    const legacy = heard.find(isTwin)
    if (legacy) return [versioned, legacy]
  }
  throw new Error('events/ holds no snapshot.start in both formats')
}
