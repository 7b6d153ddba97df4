import { instanceLease } from '../../shared/freeze.ts'
import { novaDisk } from '../../shared/names.ts'
import type { Server } from '../../shared/ports/compute.ts'
import { defaultRules } from '../../shared/rules.ts'
import { isWorkingOnImage } from '../../shared/server-state.ts'
import { homeCluster, type Ports, type Settings } from '../../shared/step.ts'
import { fakeBus, type NotificationFormat } from './bus.ts'
import { fakeCeph, type Ceph, type CephEvent } from './ceph.ts'
import { fakeClock } from './clock.ts'
import { fakeCompute, type FakeServers } from './compute.ts'
import { fakeGlance } from './glance.ts'
import { fakeGuests } from './guest.ts'
import { fakeImages } from './images.ts'
import { fakeJournal } from './journal.ts'
import { fakeNova, quickNova, type NovaPlan } from './nova.ts'
import { fakeQueue } from './queue.ts'
import { fakeReader, fakeVolumes, type CephTempo } from './volumes.ts'
import { fakeWire } from './wire.ts'

export interface ServerOptions {
  /** `elsewhere`: in another cluster than Glance's pool */
  disk?: 'clone' | 'flat' | 'elsewhere'
  agent?: 'alive' | 'dead' | 'none'
  layering?: boolean
  baseProperties?: Record<string, string>
  project?: string
}

/** What was true at the moment of one of our snapshots on a disk. */
export interface SnapEvidence {
  run: string
  instance: string
  atMs: number
  isFrozen: boolean
  isRunning: boolean
  content: string | null
}

export interface Wished {
  instance: string
  kind: 'tag' | 'createImage' | 'policy'
  what: string
}

export type World = ReturnType<typeof makeWorld>

/** A cloud small enough to look at whole. Everything in it happens at its own moment of one clock. */
export function makeWorld(options: { format?: NotificationFormat } = {}) {
  const clock = fakeClock()
  const settings: Settings = {
    novaPool: 'vms',
    glancePool: 'images',
    freezeBudgetMs: 5_000,
    flattensAtOnce: 2,
    uploadFormat: 'raw',
    rules: defaultRules,
  }
  const tempo: CephTempo = { cloneMs: 0, flattenMs: 20_000, copyMs: 15_000, halfMade: null, refusesCopy: false }
  const evidence: SnapEvidence[] = []
  /** made by us with no undo in the journal, or removed by us and not ours to remove */
  const trespasses: CephEvent[] = []
  const wishes: Wished[] = []
  /** image ids that their owner deleted */
  const unwanted = new Set<string>()
  /** that their owner protected */
  const guarded = new Set<string>()
  const servers: FakeServers = new Map()
  const projects = new Map<string, string>()
  const store = fakeJournal()
  const guests = fakeGuests(clock, (instance) => store.leaseOf(instanceLease(instance))?.holder ?? null)
  const queue = fakeQueue(clock)
  const bus = fakeBus(clock, queue, { format: options.format ?? 'versioned' })
  const ceph: Ceph = fakeCeph(clock, {
    fsid: 'f51d0000-1111-4222-8333-444455556666',
    onEvent: (event) => watch(event, ceph),
  })
  const elsewhere: Ceph = fakeCeph(clock, {
    fsid: 'e15e0000-1111-4222-8333-444455556666',
    onEvent: (event) => watch(event, elsewhere),
  })
  const glance = fakeGlance(ceph, clock, settings.glancePool)
  const pools = { nova: settings.novaPool, glance: settings.glancePool }
  const nova = fakeNova({ ceph, clock, glance, guests, servers, bus, pools })
  const wire = fakeWire()
  const volumes = fakeVolumes(ceph, clock, tempo, wire)

  function watch(event: CephEvent, cluster: Ceph): void {
    const isMade = event.op === 'create' || event.op === 'clone' || event.op === 'snap create' || event.op === 'rename'
    const instance = event.image.replace(/_disk$/, '')
    const run = event.snap?.replace('rbdsnap-', '') ?? ''
    if (event.pool === settings.novaPool && event.op === 'snap create') guests.noteSnap(instance)
    if (event.by !== 'rbdsnap') return
    if (event.op === 'remove' && !mayRemove(event)) trespasses.push(event)
    if (event.op === 'snap remove' && event.pool === settings.novaPool && !event.snap?.startsWith('rbdsnap-'))
      trespasses.push(event)
    if (!isMade) return
    if (event.pool === settings.novaPool && event.snap !== null) {
      const isFrozen = guests.isFrozen(instance)
      const { content } = cluster.snapOf({ ...event, snap: event.snap })
      evidence.push({ run, instance, atMs: event.atMs, isFrozen, isRunning: guests.isRunning(instance), content })
    }
    if (!isNoted(event)) trespasses.push(event)
  }

  /** Is there, at this moment, a run whose record names the undo of what was just made? The last look takes the names off. */
  function isNoted({ pool, image, snap }: CephEvent): boolean {
    return store.runs().some(({ wish, undos }) => {
      if (pool === settings.novaPool) return snap === `rbdsnap-${wish.run}` && undos.includes('dropSourceSnapshot')
      if (image === `rbdsnap-${wish.run}-copy`) return undos.includes('dropCopy')
      return image === wish.image && (undos.includes('dropClone') || undos.includes('dropCopy'))
    })
  }

  /**
   * What we made; a disk that Nova gave up on; Nova's volume once Nova's attempt is over and nothing is registered on it; what Glance
   * left of an upload in which it died, once its record is deleted, by us or by its owner.
   */
  function mayRemove({ pool, image, madeBy }: CephEvent): boolean {
    if (madeBy === 'rbdsnap') return true
    if (pool === settings.novaPool) return nova.leaked.has(image)
    if (glance.events.some((e) => e.op === 'delete' && e.image.id === image && e.image.status === 'saving')) return true
    const record = glance.images.get(image)
    const server = servers.get(record?.properties['instance_uuid'] ?? '')
    return record?.status === 'queued' && !(server && isWorkingOnImage(server))
  }

  const ports: Ports = {
    compute: fakeCompute(servers, (server) => bus.notify('instance.update', server)),
    images: fakeImages(glance, wire),
    clusters: { [homeCluster]: volumes, elsewhere: fakeVolumes(elsewhere, clock, tempo, wire) },
    reader: fakeReader({ [homeCluster]: ceph, elsewhere }),
    guest: guests.port,
    queue: queue.port,
    journal: store.journal,
    leases: store.leases,
  }

  function addServer({
    disk = 'clone',
    agent = 'alive',
    layering = true,
    baseProperties = { hw_qemu_guest_agent: 'yes' },
    project = '13fcaa0fddb64917b16214698f0e086f',
  }: ServerOptions = {}): Server {
    const n = String(servers.size + 1).padStart(12, '0')
    const baseImage = `00000000-0000-4000-b000-${n}`
    const server: Server = {
      id: `00000000-0000-4000-8000-${n}`,
      name: `server-${servers.size + 1}`,
      project,
      user: 'b0b',
      vmState: 'active',
      taskState: null,
      host: 'compute-01',
      rootGib: 1,
      baseImage,
      tags: [],
    }
    glance.create('tenant', {
      id: baseImage,
      owner: project,
      name: 'base',
      properties: baseProperties,
      status: 'active',
    })
    const base = { pool: settings.glancePool, image: baseImage }
    ceph.create('tenant', base, { sizeBytes: 4096, content: 'base' })
    ceph.snapCreate('tenant', { ...base, snap: 'snap' })
    ceph.protect('tenant', { ...base, snap: 'snap' })
    const { id } = server
    const cluster = disk === 'elsewhere' ? elsewhere : ceph
    cluster.create('nova', novaDisk(settings.novaPool, id), {
      sizeBytes: 4096,
      canLayer: layering,
      parent: disk === 'clone' ? { ...base, snap: 'snap' } : null,
      isInUse: true,
      live: () => `${id}@${guests.frozenSinceMs(id) ?? clock.nowMs()}`,
    })
    guests.boot(id, agent)
    servers.set(id, server)
    projects.set(id, project)
    return server
  }

  /** Its data now, and its record when what is given is called; null when Glance refuses. */
  function deleteImageSlowly(id: string): (() => void) | null {
    const image = glance.images.get(id)
    if (!image || image.isProtected || ceph.childrenOf({ pool: pools.glance, image: id, snap: 'snap' }).length > 0)
      return null
    unwanted.add(id)
    return glance.deleteSlowly('tenant', id)
  }

  return {
    clock,
    settings,
    tempo,
    evidence,
    trespasses,
    wishes,
    unwanted,
    guarded,
    servers,
    projects,
    guests,
    store,
    queue,
    bus,
    ceph,
    /** every cluster that is configured */
    clusters: [ceph, elsewhere],
    glance,
    nova,
    volumes,
    wire,
    ports,
    addServer,

    /** `openstack server set --tag` */
    tag(server: Server, tag: string): void {
      if (!servers.has(server.id) || server.tags.includes(tag)) return
      wishes.push({ instance: server.id, kind: 'tag', what: tag })
      server.tags.push(tag)
      bus.notify('instance.update', server)
    },
    createImage(server: Server, plan: Partial<NovaPlan> = {}): string {
      const image = nova.createImage(server, { ...quickNova, ...plan })
      wishes.push({ instance: server.id, kind: 'createImage', what: image })
      return image
    },
    stop(server: Server): void {
      guests.powerOff(server.id)
      ceph.image(novaDisk(settings.novaPool, server.id)).isInUse = false
      server.vmState = 'stopped'
    },
    /** Its owner stops it, and Nova says so. */
    powerOff(server: Server): void {
      this.stop(server)
      if (server.tags.includes('snapshot-on:power_off'))
        wishes.push({ instance: server.id, kind: 'policy', what: 'power_off' })
      bus.notify('instance.power_off.end', server)
    },
    protectImage(id: string): void {
      guarded.add(id)
      glance.get(id).isProtected = true
    },
    /** A server of his is booted from it. */
    bootFrom(image: string): void {
      const disk = { pool: pools.nova, image: `${image}-booted_disk` }
      const source = { pool: pools.glance, image, snap: 'snap' }
      ceph.clone('tenant', source, disk)
      ceph.adopt(disk, source)
    },
    /** The owner deletes an image of his, if Glance lets him. */
    deleteImage(id: string): void {
      deleteImageSlowly(id)?.()
    },
    deleteImageSlowly,
  }
}
