import type { Cluster } from './cluster.ts'
import { doing, HttpError } from './dashboard-errors.ts'
import { imageView } from './dashboard-image.ts'
import type { ManagerLife } from './dashboard-life.ts'
import { flag, type Route, text, textOrNull } from './dashboard-route.ts'
import { featureList, may, openImage, py, removeSnap, source, visibleImage } from './dashboard-spec.ts'

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

/** /api/block/image (class Rbd in controllers/rbd.py of 16.2) */
export function imageRoutes(cluster: Cluster): Route[] {
  const names = imageLists(cluster)

  function listed(life: ManagerLife, pool: string, args: Record<string, unknown>) {
    const search = textOrNull(args, 'search') ?? ''
    const limit = Number(args['limit'] ?? 5)
    const offset = Number(args['offset'] ?? 0)
    const found = names(life, pool).filter((image) => image.includes(search) || pool.includes(search))
    if (textOrNull(args, 'sort')?.startsWith('-')) found.reverse()
    return found.slice(offset, limit < 0 ? undefined : offset + limit).flatMap((image) => {
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
      run({ args, life }) {
        const wanted = textOrNull(args, 'pool_name')
        return (wanted === null ? cluster.pools() : [wanted]).flatMap((pool) => {
          const value = listed(life, pool, args)
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
      run({ args }) {
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
      async run({ args }) {
        const spec = source(args)
        for (const snap of visibleImage(cluster, spec).snaps)
          await removeSnap(cluster, spec, snap.name, snap.isProtected)
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
      async run({ args }) {
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
  ]
}
