import type { Cluster, TrashEntry } from './cluster.ts'
import { doing } from './dashboard-errors.ts'
import { flag, type Route, text, textOrNull } from './dashboard-route.ts'
import { may, parseSpec, source } from './dashboard-spec.ts'
import { isoTime } from './dashboard-tasks.ts'

/** /api/block/image/trash, and the way into it (class RbdTrash in controllers/rbd.py of 16.2) */
export function trashRoutes(cluster: Cluster): Route[] {
  function entries(pool: string): TrashEntry[] {
    return doing('error listing trash entries', () => cluster.trash.list(pool))
  }

  return [
    {
      method: 'POST',
      path: 'block/image/:image_spec/move_trash',
      python: 'Rbd.move_trash',
      needs: may('create'),
      allowsEmpty: true,
      optional: ['delay'],
      task: { name: 'rbd/trash/move', metadata: ({ image_spec }) => ({ image_spec }), held: 'shortly' },
      run({ args }) {
        const { pool, image } = source(args)
        const keepMs = Number(args['delay'] ?? 0) * 1000
        doing('error moving image to trash', () => cluster.trash.move(pool, image, keepMs))
      },
    },
    {
      method: 'GET',
      path: 'block/image/trash',
      python: 'RbdTrash.list',
      needs: may('read'),
      optional: ['pool_name'],
      run({ args }) {
        const wanted = textOrNull(args, 'pool_name')
        const pools = wanted === null ? cluster.pools() : [wanted]
        return pools.map((pool) => ({
          status: 0,
          value: entries(pool).map((entry) => entryView(pool, entry)),
          pool_name: pool,
        }))
      },
    },
    {
      method: 'POST',
      path: 'block/image/trash/purge',
      python: 'RbdTrash.purge',
      needs: may('delete'),
      allowsEmpty: true,
      optional: ['pool_name'],
      task: { name: 'rbd/trash/purge', metadata: ({ pool_name = null }) => ({ pool_name }), held: 'shortly' },
      run({ args }) {
        const wanted = textOrNull(args, 'pool_name')
        for (const pool of wanted === null ? cluster.pools() : [wanted]) {
          for (const { id, keptUntilMs } of entries(pool)) {
            if (keptUntilMs < Date.now()) doing('error deleting image from trash', () => cluster.trash.remove(pool, id))
          }
        }
      },
    },
    {
      method: 'POST',
      path: 'block/image/trash/:image_id_spec/restore',
      python: 'RbdTrash.restore',
      needs: may('create'),
      allowsEmpty: true,
      required: ['new_image_name'],
      task: {
        name: 'rbd/trash/restore',
        metadata: ({ image_id_spec, new_image_name }) => ({ image_id_spec, new_image_name }),
        held: 'shortly',
      },
      run({ args }) {
        const { pool, image: id } = parseSpec(text(args, 'image_id_spec'))
        doing('error restoring image from trash', () => cluster.trash.restore(pool, id, text(args, 'new_image_name')))
      },
    },
    {
      method: 'DELETE',
      path: 'block/image/trash/:image_id_spec',
      python: 'RbdTrash.delete',
      needs: may('delete'),
      status: 204,
      optional: ['force'],
      task: { name: 'rbd/trash/remove', metadata: ({ image_id_spec }) => ({ image_id_spec }), held: 'shortly' },
      run({ args }) {
        const { pool, image: id } = parseSpec(text(args, 'image_id_spec'))
        doing('error deleting image from trash', () => cluster.trash.remove(pool, id, flag(args, 'force')))
      },
    },
  ]
}

function entryView(pool: string, { id, name, deletedAtMs, keptUntilMs }: TrashEntry) {
  return {
    id,
    name,
    source: 'USER',
    deletion_time: isoTime(deletedAtMs),
    deferment_end_time: isoTime(keptUntilMs),
    pool_name: pool,
    namespace: '',
  }
}
