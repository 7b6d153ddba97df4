import type { Cluster, ImageInfo } from './cluster.ts'
import { RbdError } from './cluster.ts'
import { doing, HttpError } from './dashboard-errors.ts'
import { imageView } from './dashboard-image.ts'
import type { ManagerLife } from './dashboard-life.ts'
import { flag, type Route, text, textOrNull } from './dashboard-route.ts'

const may = (permission: string) => ({ scope: 'rbd-image', permission })

/** `pool/image`; a namespace stays with the image's name, and there is none of that name. */
function parseSpec(spec: string): { pool: string; image: string } {
  const at = spec.indexOf('/')
  if (at < 0) throw new Error('not enough values to unpack (expected 2, got 1)')
  return { pool: spec.slice(0, at), image: spec.slice(at + 1) }
}

function source(args: Record<string, unknown>) {
  return parseSpec(text(args, 'image_spec'))
}

/** Python prints librbd's names as bytes. */
const py = (name: string) => `b'${name}'`

function openImage(cluster: Cluster, { pool, image }: { pool: string; image: string }): ImageInfo {
  return doing(`error opening image ${py(image)} at snapshot None`, () => cluster.info(pool, image))
}

/**
 * RbdService.get_image: a snapshot in the trash namespace makes the binding fail, which is answered as if the image were gone
 * (ceph/ceph#57151).
 */
function visibleImage(cluster: Cluster, { pool, image }: { pool: string; image: string }): ImageInfo {
  try {
    const info = cluster.info(pool, image)
    if (info.trashedSnaps.length === 0) return info
  } catch (error) {
    if (!(error instanceof RbdError)) throw error
    if (error.component === 'pool') return doing('', () => Promise.reject(error) as never)
  }
  throw new HttpError(404, 'Image not found')
}

function featureList(value: unknown): string[] | undefined {
  if (typeof value === 'string') return value.split(',')
  return Array.isArray(value) ? value.map(String) : undefined
}

async function removeSnap(cluster: Cluster, spec: { pool: string; image: string }, snap: string, isProtected: boolean) {
  const { pool, image } = spec
  openImage(cluster, spec)
  if (isProtected) {
    doing(`error unprotecting snapshot ${py(snap)} from ${py(image)}`, () => cluster.snapUnprotect(pool, image, snap))
  }
  await doing(`error removing snapshot ${py(snap)} from ${py(image)}`, () => cluster.snapRemove(pool, image, snap))
}

/** Names of a pool's images are cached for 30 s by each manager. */
const listTtlMs = 30_000

function imageLists(cluster: Cluster) {
  const seen = new WeakMap<ManagerLife, Map<string, { names: string[]; atMs: number }>>()
  return (life: ManagerLife, pool: string): string[] => {
    const lists = seen.get(life) ?? new Map<string, { names: string[]; atMs: number }>()
    seen.set(life, lists)
    const known = lists.get(pool)
    if (known && Date.now() - known.atMs < listTtlMs) return known.names
    const names = doing(`error listing images`, () => cluster.images(pool))
    lists.set(pool, { names, atMs: Date.now() })
    return names
  }
}

/** /api/block/image: images and their snapshots (controllers/rbd.py of 16.2). */
export function rbdRoutes(cluster: Cluster): Route[] {
  const names = imageLists(cluster)

  function listed(life: ManagerLife, pool: string, offset: number, limit: number) {
    const page = names(life, pool).slice(offset, limit < 0 ? undefined : offset + limit)
    return page.flatMap((image) => {
      try {
        return [imageView(cluster, visibleImage(cluster, { pool, image }), false)]
      } catch (error) {
        if (error instanceof HttpError) return []
        throw error
      }
    })
  }

  return [
    {
      method: 'GET',
      path: 'block/image/clone_format_version',
      python: 'Rbd.clone_format_version',
      needs: may('read'),
      run: () => cluster.cloneFormat,
    },
    {
      method: 'GET',
      path: 'block/image',
      python: 'Rbd.list',
      needs: may('read'),
      version: '2.0',
      optional: ['pool_name', 'offset', 'limit', 'search', 'sort'],
      async run({ args, life }) {
        await life.useRados()
        const wanted = textOrNull(args, 'pool_name')
        const limit = Number(args['limit'] ?? 5)
        return (wanted === null ? cluster.pools() : [wanted]).flatMap((pool) => {
          const value = listed(life, pool, Number(args['offset'] ?? 0), limit)
          return value.length > 0 ? [{ value, pool_name: pool }] : []
        })
      },
    },
    {
      method: 'GET',
      path: 'block/image/:image_spec',
      python: 'Rbd.get',
      needs: may('read'),
      optional: ['omit_usage'],
      async run({ args, life }) {
        await life.useRados()
        return imageView(cluster, visibleImage(cluster, source(args)), flag(args, 'omit_usage'))
      },
    },
    {
      method: 'DELETE',
      path: 'block/image/:image_spec',
      python: 'Rbd.delete',
      needs: may('delete'),
      status: 204,
      task: { name: 'rbd/delete', metadata: ({ image_spec }) => ({ image_spec }), held: 'shortly' },
      async run({ args, life }) {
        await life.useRados()
        const spec = source(args)
        for (const snap of visibleImage(cluster, spec).snaps) await removeSnap(cluster, spec, snap.name, snap.isProtected)
        doing('error removing image', () => cluster.remove(spec.pool, spec.image))
      },
    },
    {
      method: 'PUT',
      path: 'block/image/:image_spec',
      python: 'Rbd.set',
      needs: may('update'),
      optional: ['name'],
      task: { name: 'rbd/edit', metadata: ({ image_spec, name = null }) => ({ image_spec, name }), held: 'longer' },
      async run({ args, life }) {
        await life.useRados()
        const { pool, image } = source(args)
        openImage(cluster, { pool, image })
        const name = textOrNull(args, 'name')
        if (name !== null && name !== image) doing('error renaming image', () => cluster.rename(pool, image, name))
      },
    },
    {
      method: 'POST',
      path: 'block/image/:image_spec/flatten',
      python: 'Rbd.flatten',
      needs: may('update'),
      allowsEmpty: true,
      task: { name: 'rbd/flatten', metadata: ({ image_spec }) => ({ image_spec }), held: 'shortly' },
      async run({ args, life }) {
        await life.useRados()
        const { pool, image } = source(args)
        openImage(cluster, { pool, image })
        await doing(`error flattening ${py(image)}`, () => cluster.flatten(pool, image, () => life.pause('flatten')))
      },
    },
    {
      method: 'POST',
      path: 'block/image/:image_spec/copy',
      python: 'Rbd.copy',
      needs: may('create'),
      allowsEmpty: true,
      required: ['dest_pool_name', 'dest_namespace', 'dest_image_name'],
      optional: ['snapshot_name', 'obj_size', 'features', 'stripe_unit', 'stripe_count', 'data_pool', 'configuration'],
      task: {
        name: 'rbd/copy',
        metadata: ({ image_spec, dest_pool_name, dest_namespace, dest_image_name }) => {
          return { src_image_spec: image_spec, dest_pool_name, dest_namespace, dest_image_name }
        },
        held: 'shortly',
      },
      async run({ args, life }) {
        await life.useRados()
        const from = source(args)
        openImage(cluster, from)
        const target = { pool: text(args, 'dest_pool_name'), image: text(args, 'dest_image_name') }
        const snap = textOrNull(args, 'snapshot_name')
        const snapKnown = snap === null || openImage(cluster, from).snaps.some(({ name }) => name === snap)
        const words = snapKnown
          ? `error copying image ${py(from.image)} to ${py(target.image)}`
          : `error setting image ${py(from.image)} to snapshot ${py(snap)}`
        const pace = () => life.pause('copy')
        await doing(words, () => cluster.copy({ ...from, snap }, target, pace, featureList(args['features'])))
      },
    },
    {
      method: 'POST',
      path: 'block/image/:image_spec/snap',
      python: 'RbdSnapshot.create',
      needs: may('create'),
      status: 201,
      required: ['snapshot_name', 'mirrorImageSnapshot'],
      task: {
        name: 'rbd/snap/create',
        metadata: ({ image_spec, snapshot_name, mirrorImageSnapshot }) => ({ image_spec, snapshot_name, mirrorImageSnapshot }),
        held: 'shortly',
      },
      async run({ args, life }) {
        await life.useRados()
        const { pool, image } = source(args)
        const snap = text(args, 'snapshot_name')
        openImage(cluster, { pool, image })
        await doing(`error creating snapshot ${py(snap)} from ${py(image)}`, () => cluster.snapCreate(pool, image, snap))
      },
    },
    {
      method: 'PUT',
      path: 'block/image/:image_spec/snap/:snapshot_name',
      python: 'RbdSnapshot.set',
      needs: may('update'),
      optional: ['new_snap_name', 'is_protected'],
      task: {
        name: 'rbd/snap/edit',
        metadata: ({ image_spec, snapshot_name }) => ({ image_spec, snapshot_name }),
        held: 'longer',
      },
      async run({ args, life }) {
        await life.useRados()
        const { pool, image } = source(args)
        openImage(cluster, { pool, image })
        const old = text(args, 'snapshot_name')
        const snap = textOrNull(args, 'new_snap_name') ?? old
        if (snap !== old) {
          const words = `error renaming snapshot of ${py(image)} from ${py(old)} to ${py(snap)}`
          doing(words, () => cluster.snapRename(pool, image, old, snap))
        }
        if (typeof args['is_protected'] === 'boolean') setProtected(cluster, { pool, image, snap }, args['is_protected'])
      },
    },
    {
      method: 'DELETE',
      path: 'block/image/:image_spec/snap/:snapshot_name',
      python: 'RbdSnapshot.delete',
      needs: may('delete'),
      status: 204,
      task: {
        name: 'rbd/snap/delete',
        metadata: ({ image_spec, snapshot_name }) => ({ image_spec, snapshot_name }),
        held: 'shortly',
      },
      async run({ args, life }) {
        await life.useRados()
        await removeSnap(cluster, source(args), text(args, 'snapshot_name'), false)
      },
    },
    {
      method: 'POST',
      path: 'block/image/:image_spec/snap/:snapshot_name/clone',
      python: 'RbdSnapshot.clone',
      needs: may('create'),
      allowsEmpty: true,
      required: ['child_pool_name', 'child_image_name'],
      optional: ['child_namespace', 'obj_size', 'features', 'stripe_unit', 'stripe_count', 'data_pool', 'configuration'],
      task: {
        name: 'rbd/clone',
        // without the snapshot: clones of two snapshots to one name join, and one of them is lost
        metadata: ({ image_spec, child_pool_name, child_namespace = null, child_image_name }) => {
          return { parent_image_spec: image_spec, child_pool_name, child_namespace, child_image_name }
        },
        held: 'shortly',
      },
      async run({ args, life }) {
        await life.useRados()
        await life.pause('clone')
        const from = { ...source(args), snap: text(args, 'snapshot_name') }
        const child = { pool: text(args, 'child_pool_name'), image: text(args, 'child_image_name') }
        const diesWith = life.cloneDiesWith()
        const features = featureList(args['features'])
        doing('error creating clone', () => cluster.clone(from, child, features, diesWith))
        if (diesWith !== undefined) life.dieNow()
      },
    },
  ]
}

function setProtected(cluster: Cluster, spec: { pool: string; image: string; snap: string }, wanted: boolean) {
  const { pool, image, snap } = spec
  const known = openImage(cluster, spec).snaps.find(({ name }) => name === snap)
  if (!known) {
    const words = `error checking if snapshot ${py(snap)} from ${py(image)} is protected`
    doing(words, () => {
      throw new RbdError(2, words)
    })
  }
  if (known?.isProtected === wanted) return
  if (wanted) doing(`error protecting snapshot ${py(snap)} from ${py(image)}`, () => cluster.snapProtect(pool, image, snap))
  else doing(`error unprotecting snapshot ${py(snap)} from ${py(image)}`, () => cluster.snapUnprotect(pool, image, snap))
}
