import type { Cluster } from './cluster.ts'
import { doing } from './dashboard-errors.ts'
import { type Route, text, textOrNull } from './dashboard-route.ts'
import { featureList, may, openImage, py, removeSnap, source } from './dashboard-spec.ts'

/** /api/block/image/{spec}/snap (class RbdSnapshot in controllers/rbd.py of 16.2) */
export function snapRoutes(cluster: Cluster): Route[] {
  return [
    {
      method: 'POST',
      path: 'block/image/:image_spec/snap',
      python: 'RbdSnapshot.create',
      needs: may('create'),
      status: 201,
      required: ['snapshot_name', 'mirrorImageSnapshot'],
      task: {
        name: 'rbd/snap/create',
        metadata: ({ image_spec, snapshot_name, mirrorImageSnapshot }) => ({
          image_spec,
          snapshot_name,
          mirrorImageSnapshot,
        }),
        held: 'shortly',
      },
      async run({ args }) {
        const { pool, image } = source(args)
        const snap = text(args, 'snapshot_name')
        openImage(cluster, { pool, image })
        await doing(`error creating snapshot ${py(snap)} from ${py(image)}`, () =>
          cluster.snapCreate(pool, image, snap),
        )
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
      async run({ args }) {
        const { pool, image } = source(args)
        openImage(cluster, { pool, image })
        const old = text(args, 'snapshot_name')
        const snap = textOrNull(args, 'new_snap_name') ?? old
        if (snap !== old) {
          const words = `error renaming snapshot of ${py(image)} from ${py(old)} to ${py(snap)}`
          doing(words, () => cluster.snapRename(pool, image, old, snap))
        }
        if (typeof args['is_protected'] === 'boolean')
          setProtected(cluster, { pool, image, snap }, args['is_protected'])
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
      async run({ args }) {
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
      optional: [
        'child_namespace',
        'obj_size',
        'features',
        'stripe_unit',
        'stripe_count',
        'data_pool',
        'configuration',
      ],
      task: {
        name: 'rbd/clone',
        // without the snapshot: clones of two snapshots to one name join, and one of them is lost
        metadata: ({ image_spec, child_pool_name, child_namespace = null, child_image_name }) => {
          return { parent_image_spec: image_spec, child_pool_name, child_namespace, child_image_name }
        },
        held: 'shortly',
      },
      async run({ args, life }) {
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

/** What is so already is left alone: protecting or unprotecting twice is 200. */
function setProtected(cluster: Cluster, spec: { pool: string; image: string; snap: string }, wanted: boolean) {
  const { pool, image, snap } = spec
  const known = openImage(cluster, spec).snaps.find(({ name }) => name === snap)
  if (known?.isProtected === wanted) return
  const verb = wanted ? 'protecting' : 'unprotecting'
  const words = known
    ? `error ${verb} snapshot ${py(snap)} from ${py(image)}`
    : `error checking if snapshot ${py(snap)} from ${py(image)} is protected`
  doing(words, () => (wanted ? cluster.snapProtect(pool, image, snap) : cluster.snapUnprotect(pool, image, snap)))
}
