import { novaDisk } from '../../shared/names.ts'
import type { Server } from '../../shared/ports/compute.ts'
import type { Bus } from './bus.ts'
import { Errno, type Ceph } from './ceph.ts'
import type { FakeClock } from './clock.ts'
import { GlanceError, type Glance } from './glance.ts'
import type { FakeGuests } from './guest.ts'
import type { FakeServers } from './compute.ts'

/** How Nova's own snapshot goes (nova/virt/libvirt/driver.py snapshot()), and how long it takes for each part. */
export interface NovaPlan {
  /** `direct` falls to the long way by itself when the disk's pool cannot be told */
  way: 'direct' | 'long'
  flattenFails: boolean
  startMs: number
  cloneMs: number
  flattenMs: number
  convertMs: number
}

export const quickNova: NovaPlan = {
  way: 'direct',
  flattenFails: false,
  startMs: 200,
  cloneMs: 100,
  flattenMs: 20_000,
  convertMs: 30_000,
}

interface NovaWorld {
  ceph: Ceph
  clock: FakeClock
  glance: Glance
  guests: FakeGuests
  servers: FakeServers
  bus: Bus
  pools: { nova: string; glance: string }
}

class Unacceptable extends Error {}
type Job = Generator<number, void>

/** Nova as another worker on the same volumes and images; each part of a job happens at its own moment. */
export function fakeNova(world: NovaWorld) {
  const { ceph, clock, glance, guests, servers, bus, pools } = world
  const me = 'nova'
  let made = 0
  const failing = new Set<string>()
  /** disks that Nova gave up on, and reported as deleted */
  const leaked = new Set<string>()

  function run(job: Job): void {
    const step = job.next()
    if (!step.done) clock.in(step.value, () => run(job))
  }
  function setTask(server: Server, task: string | null): void {
    // the later task of a server that is being deleted is refused (UnexpectedDeletingTaskStateError)
    if (server.taskState === 'deleting') return
    server.taskState = task
    if (servers.has(server.id)) bus.notify('instance.update', server)
  }
  const mayFail = (server: Server) => {
    if (failing.delete(server.id)) throw new Error('the compute service died')
  }

  /** create_snap, clone, flatten inline, cleanup_direct_snapshot (imagebackend.py Rbd.direct_snapshot) */
  function* direct(server: Server, image: string, plan: NovaPlan): Generator<number, string> {
    const disk = novaDisk(pools.nova, server.id)
    if (plan.way === 'long') throw new Unacceptable('Cannot determine the parent storage pool')
    const source = { ...disk, snap: `${String(made).padStart(4, '0')}5f0d8e2c4b8e9f5a1d2c3b4a5f60` }
    const child = { pool: pools.glance, image }
    ceph.snapCreate(me, source)
    ceph.protect(me, source)
    try {
      yield plan.cloneMs
      mayFail(server)
      ceph.clone(me, source, child)
      ceph.adopt(child, source)
      yield plan.flattenMs
      mayFail(server)
      if (plan.flattenFails) throw new Error('flatten failed')
      ceph.flattenNow(me, child)
    } finally {
      if (ceph.has(disk) && ceph.childrenOf(source).length === 0) {
        ceph.unprotect(me, source)
        ceph.snapRemove(me, source)
      }
    }
    ceph.snapCreate(me, { ...child, snap: 'snap' })
    ceph.protect(me, { ...child, snap: 'snap' })
    return `rbd://${ceph.fsid}/${pools.glance}/${image}/snap`
  }

  function* longWay(server: Server, image: string, plan: NovaPlan): Generator<number, void> {
    guests.save(server.id)
    const content = ceph.content(novaDisk(pools.nova, server.id))
    yield plan.convertMs
    guests.resume(server.id)
    mayFail(server)
    const volume = { pool: pools.glance, image }
    const { sizeBytes } = ceph.image(novaDisk(pools.nova, server.id))
    const record = glance.get(image)
    if (record.status !== 'queued') throw new GlanceError(409, `image ${image} is ${record.status}`)
    const stored = ceph.create('glance', volume, { sizeBytes, content })
    const snap = { ...volume, snap: 'snap' }
    ceph.snapCreate('glance', snap)
    ceph.protect('glance', snap)
    Object.assign(record, { status: 'active', sizeBytes: stored.sizeBytes, hasFormats: true })
    record.locations.push(`rbd://${ceph.fsid}/${pools.glance}/${image}/snap`)
  }

  function* snapshot(server: Server, image: string, plan: NovaPlan): Job {
    yield plan.startMs
    setTask(server, 'image_snapshot')
    bus.notify('instance.snapshot.start', server, { snapshot_image_id: image })
    yield plan.startMs
    setTask(server, 'image_uploading')
    try {
      if (!glance.images.has(image)) return
      try {
        const url = yield* direct(server, image, plan)
        register(image, url)
      } catch (error) {
        if (!(error instanceof Unacceptable)) throw error
        yield* longWay(server, image, plan)
      }
      setTask(server, null)
      bus.notify('instance.snapshot.end', server, { snapshot_image_id: image })
    } catch (error) {
      if (!isNovas(error)) throw error
      deleteImageOnError(image)
      setTask(server, null)
      bus.notify('compute.exception', server)
    } finally {
      if (server.taskState === 'image_uploading') setTask(server, null)
      guests.resume(server.id)
    }
  }

  function register(image: string, url: string): void {
    try {
      glance.get(image).hasFormats = true
      glance.addLocation(me, image, url)
    } catch (error) {
      if (!(error instanceof GlanceError)) throw error
      const child = { pool: pools.glance, image }
      ceph.unprotect(me, { ...child, snap: 'snap' })
      ceph.snapRemove(me, { ...child, snap: 'snap' })
      ceph.remove(me, child)
      throw error
    }
  }

  /** Any error but these is a mistake in the fakes themselves. */
  const isNovas = (error: unknown) =>
    error instanceof Errno ||
    error instanceof GlanceError ||
    (error instanceof Error && /flatten failed|service died/.test(error.message))

  /** nova/compute/manager.py delete_image_on_error: a refusal is only logged */
  function deleteImageOnError(image: string): void {
    try {
      glance.delete(me, image)
    } catch (error) {
      if (!(error instanceof GlanceError)) throw error
    }
  }

  /** 12 tries of 5 s; then success is reported and the disk stays (rbd_utils.py _destroy_volume) */
  function* destroy(server: Server): Job {
    const disk = novaDisk(pools.nova, server.id)
    guests.powerOff(server.id)
    if (ceph.has(disk)) ceph.image(disk).isInUse = false
    bus.notify('instance.delete.start', server)
    for (let tries = 0; tries < 12 && ceph.has(disk); tries++) {
      try {
        ceph.remove(me, disk)
      } catch (error) {
        if (!(error instanceof Errno)) throw error
        yield 5_000
      }
    }
    if (ceph.has(disk)) leaked.add(disk.image)
    servers.delete(server.id)
    bus.notify('instance.delete.end', server)
  }

  return {
    leaked,
    /** @returns the id of the queued image that nova-api makes before anything else */
    createImage(server: Server, plan: NovaPlan, name = 'by-nova'): string {
      made += 1
      const id = `00000000-0000-4000-a000-${String(made).padStart(12, '0')}`
      const base = server.baseImage === null ? undefined : glance.images.get(server.baseImage)
      const properties = { ...base?.properties, instance_uuid: server.id, image_type: 'snapshot' }
      glance.create(me, { id, name, owner: server.project, properties })
      setTask(server, 'image_snapshot_pending')
      run(snapshot(server, id, plan))
      return id
    },
    deleteServer(server: Server): void {
      if (server.taskState === 'deleting') return
      setTask(server, 'deleting')
      run(destroy(server))
    },
    /** the part of its job that comes next goes wrong */
    failNext: (server: Server) => void failing.add(server.id),
  }
}
