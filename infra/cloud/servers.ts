import { createHash, randomUUID } from 'node:crypto'
import type { Cluster } from './cluster.ts'
import { blankImage, type ImageRow } from './glance-images.ts'
import type { AgentState } from './guests.ts'
import type { NovaCore } from './nova-core.ts'
import { diskOf, type Instance } from './nova-instances.ts'

export type DiskKind = 'clone' | 'flat' | 'no-layering' | 'other-cluster'

export interface NewServer {
  id?: string
  name: string
  project: string
  user: string
  disk: DiskKind
  /** a part of one is fine for a disk; the flavor is rounded up */
  sizeGib: number
  agent: AgentState
  /** os_require_quiesce on its image */
  requireQuiesce?: boolean
  /** hw_qemu_guest_agent on its image; as `agent` says when absent */
  saysAgent?: boolean
  /** a Glance image that is there, or one that was deleted since; when absent, one of the right size and properties is made */
  image?: { id: string; isGone?: boolean; props?: Record<string, string> }
  tags?: string[]
  metadata?: Record<string, string>
  reservation?: string
  createdAtMs?: number
  launchedAtMs?: number
}

export interface NewBase {
  id?: string
  name: string
  sizeGib: number
  format: 'raw' | 'qcow2'
  properties: Record<string, string>
}

const gib = 1 << 30
const mib = 1 << 20
const pools = { nova: 'vms', glance: 'images' }
const hardware = {
  hw_machine_type: 'pc',
  hw_cdrom_bus: 'ide',
  hw_disk_bus: 'virtio',
  hw_input_bus: 'usb',
  hw_pointer_model: 'usbtablet',
  hw_video_model: 'virtio',
  hw_vif_model: 'virtio',
}
const withoutLayering = ['exclusive-lock']

/** Bytes that depend on `seed` alone, in pieces spread over the whole disk. */
function scatter(cluster: Cluster, pool: string, image: string, seed: string, pieces: number): void {
  const { sizeBytes } = cluster.info(pool, image)
  const stride = Math.floor(sizeBytes / pieces / mib) * mib
  for (let piece = 0; piece < pieces; piece += 1) {
    const bytes = createHash('shake256', { outputLength: 256 << 10 })
      .update(`${seed} ${piece}`)
      .digest()
    cluster.write(pool, image, piece * stride + 2 * mib, bytes)
  }
}

/** Makes what is not there yet, so that a process killed in between goes on. */
export function serverFactory(nova: NovaCore, owner: string) {
  const { glance, clusters } = nova
  const making = new Map<string, Promise<ImageRow>>()

  /** An active public base image, with its RBD image and the protected snapshot `snap`. */
  function ensureBase(base: NewBase): Promise<ImageRow> {
    const known = glance.all().find((image) => image.name === base.name && image.status === 'active')
    if (known) return Promise.resolve(known)
    const made = making.get(base.name) ?? makeBase(base).finally(() => making.delete(base.name))
    making.set(base.name, made)
    return made
  }

  async function makeBase(base: NewBase): Promise<ImageRow> {
    const id = base.id ?? randomUUID()
    const home = clusters.a
    if (home.images(pools.glance).includes(id)) {
      const { snaps } = home.info(pools.glance, id)
      for (const snap of snaps) {
        if (snap.isProtected) home.snapUnprotect(pools.glance, id, snap.name)
        await home.snapRemove(pools.glance, id, snap.name)
      }
      home.remove(pools.glance, id)
    }
    home.create(pools.glance, id, base.sizeGib * gib)
    scatter(home, pools.glance, id, base.name, 12)
    await home.snapCreate(pools.glance, id, 'snap')
    home.snapProtect(pools.glance, id, 'snap')
    const image: ImageRow = {
      ...blankImage(id, owner, Date.now() - 3_600_000),
      name: base.name,
      status: 'active',
      visibility: 'public',
      disk_format: base.format,
      container_format: 'bare',
      size: base.sizeGib * gib,
      virtual_size: base.sizeGib * gib,
      properties: base.properties,
      locations: [{ url: glance.store.url(id), metadata: { store: 'rbd' } }],
    }
    glance.seed(image)
    return image
  }

  async function baseFor(
    server: NewServer,
  ): Promise<{ image: ImageRow | null; id: string; props: Record<string, string> }> {
    const { image } = server
    if (image?.isGone) return { image: null, id: image.id, props: image.props ?? {} }
    if (image) {
      const found = glance.all().find((row) => row.id === image.id && row.status === 'active')
      if (!found) throw new Error(`no active image ${image.id}`)
      return { image: found, id: found.id, props: image.props ?? found.properties }
    }
    const says = server.saysAgent ?? server.agent === 'on'
    const properties = {
      ...(says ? { hw_qemu_guest_agent: 'yes' } : {}),
      ...(server.requireQuiesce ? { os_require_quiesce: 'yes' } : {}),
    }
    const name = ['base', `${server.sizeGib}g`, ...Object.keys(properties)].join('-')
    const made = await ensureBase({ name, sizeGib: server.sizeGib, format: 'raw', properties })
    return { image: made, id: made.id, props: properties }
  }

  function makeDisk(id: string, server: NewServer, base: ImageRow | null): Instance['disk'] {
    const letter = server.disk === 'other-cluster' ? 'b' : 'a'
    const cluster = clusters[letter]
    const disk = { cluster: letter, pool: pools.nova, image: diskOf(id) } as const
    if (cluster.images(disk.pool).includes(disk.image)) cluster.remove(disk.pool, disk.image)
    if (server.disk === 'clone') {
      if (!base) throw new Error('a clone needs its base image')
      cluster.clone({ pool: pools.glance, image: base.id, snap: 'snap' }, { pool: disk.pool, image: disk.image })
    } else if (server.disk === 'no-layering')
      cluster.create(disk.pool, disk.image, server.sizeGib * gib, withoutLayering)
    else cluster.create(disk.pool, disk.image, server.sizeGib * gib)
    scatter(cluster, disk.pool, disk.image, id, 8)
    return disk
  }

  /** A running server with its disk and its guest, as if it had been booted long ago: no events. */
  async function addServer(server: NewServer): Promise<Instance> {
    const id = server.id ?? randomUUID()
    const known = nova.instances.get(id)
    if (known) return known
    const base = await baseFor(server)
    const rootGib = Math.ceil(server.sizeGib)
    const createdAtMs = server.createdAtMs ?? Date.now()
    const instance: Instance = {
      id,
      numericId: nova.instances.all().length + 1,
      name: server.name,
      hostname: server.name.toLowerCase(),
      project: server.project,
      user: server.user,
      reservation: server.reservation ?? `r-${id.slice(0, 8)}`,
      flavor: { name: `lab.${rootGib}`, rootGib },
      imageId: base.id,
      imageProps: {
        ...base.props,
        min_ram: '0',
        min_disk: String(rootGib),
        disk_format: base.image?.disk_format ?? 'raw',
        container_format: 'bare',
        base_image_ref: base.id,
        ...hardware,
      },
      metadata: server.metadata ?? {},
      tags: server.tags ?? [],
      host: 'compute-01',
      vmState: 'active',
      taskState: null,
      powerState: 1,
      isLocked: false,
      disk: makeDisk(id, server, base.image),
      createdAtMs,
      launchedAtMs: server.launchedAtMs ?? createdAtMs,
      updatedAtMs: server.launchedAtMs ?? createdAtMs,
      deletedAtMs: null,
    }
    nova.guests.add(id, instance.disk, server.agent)
    nova.instances.put(id, instance)
    return instance
  }

  return { ensureBase, addServer }
}
export type ServerFactory = ReturnType<typeof serverFactory>
