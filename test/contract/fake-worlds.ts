import { createHash, randomUUID } from 'node:crypto'
import type { Guest } from '../../shared/ports/guest.ts'
import type { RbdImage, RbdSnap } from '../../shared/ports/volumes.ts'
import type { Image } from '../../shared/ports/images.ts'
import type { Server } from '../../shared/ports/compute.ts'
import { Failure } from '../../shared/failures.ts'
import { fakeCeph, type Ceph } from '../fakes/ceph.ts'
import { fakeClock, type FakeClock } from '../fakes/clock.ts'
import { fakeCompute } from '../fakes/compute.ts'
import { fakeGlance } from '../fakes/glance.ts'
import { fakeGuests } from '../fakes/guest.ts'
import { fakeImages } from '../fakes/images.ts'
import { fakeVolumes } from '../fakes/volumes.ts'
import type { ComputeWorld } from './compute.contract.ts'
import type { GuestWorld } from './guest.contract.ts'
import type { ImagesWorld } from './images.contract.ts'
import type { VolumesWorld } from './volumes.contract.ts'

/** The fakes, as the contract suites want a world. Nothing waits: each call takes the fake clock a little further. */
const sizeBytes = 4096
const close = async () => undefined
const fsid = 'f51d0000-1111-4222-8333-444455556666'

export async function fakeVolumesWorld(): Promise<VolumesWorld> {
  const clock = fakeClock()
  const ceph = fakeCeph(clock, { fsid })
  const tempo = { cloneMs: 0, flattenMs: 200, copyMs: 200, halfMade: null, refusesCopy: false }
  let written = 0
  return {
    volumes: ticking(fakeVolumes(ceph, clock, tempo), clock),
    pools: { disks: 'vms', images: 'images' },
    fsid,
    async makeDisk(options) {
      const disk = { pool: 'vms', image: randomUUID() }
      const canLayer = options?.hasLayering ?? true
      ceph.create('nova', disk, { sizeBytes, canLayer, content: `written ${(written += 1)}` })
      return disk
    },
    async write(image) {
      ceph.image(image).content = `written ${(written += 1)}`
    },
    fingerprint: async (thing) => String('snap' in thing ? ceph.snapOf(thing).content : ceph.content(thing)),
    names: async (pool) =>
      [...ceph.images.keys()].flatMap((n) => (n.startsWith(`${pool}/`) ? [n.split('/')[1] ?? ''] : [])),
    snaps: async (image) => [...ceph.image(image).snaps].map(([name, { isProtected }]) => ({ name, isProtected })),
    parentOf: async (image) => ceph.image(image).parent,
    async snapshot(snap, isProtected = false) {
      ceph.snapCreate('tenant', snap)
      if (isProtected) ceph.protect('tenant', snap)
    },
    clone: async (source, child) => wholeClone(ceph, source, child),
    flatten: async (image) => ceph.flattenNow('tenant', image),
    async leaveHalfMade(source, child, form) {
      const made = ceph.create('rbdsnap', child, { sizeBytes })
      if (form !== 'no-parent') ceph.adopt(child, source)
      made.defect = form === 'unknown-child' ? 'unknown-to-parent' : form === 'unopenable' ? 'unopenable' : null
    },
    async hold(image) {
      ceph.image(image).isInUse = true
      return {
        release: async () => {
          ceph.image(image).isInUse = false
        },
      }
    },
    close,
  }
}

function wholeClone(ceph: Ceph, source: RbdSnap, child: RbdImage): void {
  ceph.clone('tenant', source, child)
  ceph.adopt(child, source)
}

/** Each call takes a while. */
function ticking<T extends object>(port: T, clock: FakeClock): T {
  return new Proxy(port, {
    get(of, name) {
      clock.advanceTo(clock.nowMs() + 100)
      return of[name as keyof T]
    },
  })
}

export async function fakeImagesWorld(): Promise<ImagesWorld> {
  const clock = fakeClock(Date.now())
  const ceph = fakeCeph(clock, { fsid })
  const glance = fakeGlance(ceph, clock, 'images')
  const project = randomUUID()
  const volume = (id: string) => ({ pool: 'images', image: id })
  const urlOf = (id: string) => `rbd://${fsid}/images/${id}/snap`
  return {
    images: ticking(fakeImages(glance), clock),
    project,
    otherProject: randomUUID(),
    async makeVolume(id) {
      ceph.create('tenant', volume(id), { sizeBytes, content: id })
      ceph.snapCreate('tenant', { ...volume(id), snap: 'snap' })
      ceph.protect('tenant', { ...volume(id), snap: 'snap' })
      return { url: urlOf(id), sizeBytes }
    },
    volumeExists: async (id) => ceph.has(volume(id)),
    async md5OfVolume(id) {
      const text = Buffer.from(ceph.content(volume(id)) ?? '')
      const zeros = Buffer.alloc(ceph.image(volume(id)).sizeBytes - text.length)
      return createHash('md5').update(text).update(zeros).digest('hex')
    },
    async queuedByNova(instance, inherited = {}) {
      const id = randomUUID()
      glance.create('nova', {
        id,
        owner: project,
        name: 'by-nova',
        properties: { ...inherited, instance_uuid: instance },
      })
      return id
    },
    async show(id) {
      const image = glance.images.get(id)
      if (!image) return null
      const { status, owner, isProtected, minDiskGib, properties, hasFormats, diskFormat } = image
      const formats = { diskFormat: hasFormats ? diskFormat : null, containerFormat: hasFormats ? 'bare' : null }
      return structuredClone({ status, owner, visibility: 'private', isProtected, minDiskGib, properties, ...formats })
    },
    remove: async (id) => glance.delete('tenant', id),
    async activate(id) {
      glance.get(id).hasFormats = true
      glance.addLocation('nova', id, urlOf(id))
    },
    async share(id) {
      glance.get(id).isPrivate = false
    },
    async use(id) {
      const child = { pool: 'vms', image: randomUUID() }
      wholeClone(ceph, { ...volume(id), snap: 'snap' }, child)
      return { release: async () => ceph.remove('tenant', child) }
    },
    hideLocations: (isHidden) => {
      glance.settings.takesLocationsFrom.rbdsnap = !isHidden
    },
    close,
  }
}

export async function fakeComputeWorld(): Promise<ComputeWorld> {
  const servers = new Map<string, Server>()
  return {
    compute: fakeCompute(servers, () => undefined),
    async makeServer(tags) {
      const image: Image['id'] = randomUUID()
      const known = { id: randomUUID(), name: 'a server', project: randomUUID(), user: randomUUID(), rootGib: 3 }
      const state = { vmState: 'active', taskState: null, host: 'compute-01', baseImage: image }
      servers.set(known.id, { ...known, ...state, tags })
      return { ...known, image }
    },
    tagsOf: async (id) => servers.get(id)?.tags ?? [],
    async stop(id) {
      const server = servers.get(id)
      if (server) server.vmState = 'stopped'
    },
    remove: async (id) => void servers.delete(id),
    close,
  }
}

export async function fakeGuestWorld(): Promise<GuestWorld> {
  const guests = fakeGuests({ nowMs: () => Date.now() }, () => null)
  return {
    guest: waitedFor(guests.port),
    async makeServer(agent) {
      const id = randomUUID()
      guests.boot(id, agent === 'on' ? 'alive' : agent === 'none' ? 'none' : 'dead')
      return id
    },
    isFrozen: async (id) => guests.isFrozen(id),
    freezes: async (id) => ({ count: guests.intervals.filter((i) => i.instance === id).length, refused: 0 }),
    stop: async (id) => guests.powerOff(id),
    close,
  }
}

/** An agent that does not answer is waited for, longer than a caller in a hurry stays. */
function waitedFor(guest: Guest): Guest {
  const patiently = async <T>(signal: AbortSignal, act: () => Promise<T>): Promise<T> => {
    try {
      return await act()
    } catch (error) {
      if (error instanceof Failure && error.code === 'GUEST_UNREACHABLE') {
        await new Promise((resolve) => setTimeout(resolve, 100))
        if (signal.aborted) throw new Failure('TIMEOUT', 'the caller gave up')
      }
      throw error
    }
  }
  return {
    proves: guest.proves,
    freeze: (id, untilMs, signal) => patiently(signal, () => guest.freeze(id, untilMs, signal)),
    thaw: (id, signal) => patiently(signal, () => guest.thaw(id, signal)),
    reach: (id, signal) => patiently(signal, () => guest.reach(id, signal)),
    hasHeld: (id, untilMs, signal) => patiently(signal, () => guest.hasHeld(id, untilMs, signal)),
  }
}
