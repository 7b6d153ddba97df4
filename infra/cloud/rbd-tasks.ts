import { randomUUID } from 'node:crypto'
import { join } from 'node:path'
import { EINVAL, ENOENT } from './ceph-errors.ts'
import { openStore } from './ceph-store.ts'
import { type Cluster, RbdError } from './cluster.ts'
import type { ManagerLife } from './dashboard-life.ts'
import { isoTime, type ListedTasks } from './dashboard-tasks.ts'

interface Row {
  sequence: number
  id: string
  pool: string
  image: string
  imageId: string
}

const schema = `
  CREATE TABLE IF NOT EXISTS tasks (sequence INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT UNIQUE, pool TEXT, image TEXT, imageId TEXT);
`

interface Ended {
  row: Row
  beganMs: number
  endedMs: number
  exception: { detail: string | null } | null
}

class Cancelled extends Error {}

/**
 * `ceph rbd task` of 16.2 (module rbd_support), as far as flattens go. The queue is kept with the cluster, and the active manager works it
 * off, one after another: when it dies the next one goes on.
 */
export function openRbdTasks(cluster: Cluster, dataDir: string) {
  const store = openStore(join(dataDir, 'rbd-tasks.db'), schema)
  const fractions = new Map<string, number>()
  const cancelled = new Set<string>()
  /** Of images that were flattened a moment ago: asked again, the manager answers as if it had just begun. */
  const finished = new Map<string, Row>()
  const ended: Ended[] = []
  let begun: { row: Row; atMs: number } | null = null
  let worker: ManagerLife | null = null
  let isWorking = false

  const rows = () => store.all<Row>('SELECT * FROM tasks ORDER BY sequence')
  const drop = (row: Row) => store.run('DELETE FROM tasks WHERE id = ?', row.id)

  async function work(life: ManagerLife) {
    if (isWorking) return
    isWorking = true
    try {
      for (let row = rows()[0]; row && life.isAlive(); row = rows()[0]) await flatten(row, life)
    } finally {
      isWorking = false
      fractions.clear()
    }
  }

  function end(exception: Ended['exception'], endedMs = Date.now()) {
    if (begun) ended.unshift({ row: begun.row, beganMs: begun.atMs, endedMs, exception })
    begun = null
  }

  async function flatten(row: Row, life: ManagerLife) {
    begun = { row, atMs: Date.now() }
    try {
      await cluster.flatten(row.pool, row.image, async (done, total) => {
        fractions.set(row.id, done / total)
        await life.pause('flatten')
        if (cancelled.has(row.id)) throw new Cancelled()
      })
      finished.set(row.imageId, row)
      end(null)
    } catch (error) {
      // its manager died: the next one goes on
      if (!(error instanceof Cancelled) && !(error instanceof RbdError)) return
      end({ detail: error instanceof Cancelled ? 'Operation canceled' : error.message })
    }
    if (life.isAlive()) drop(row)
  }

  return {
    /** The queue as the manager finds it when it becomes active. */
    takeOver(life: ManagerLife) {
      worker = life
      finished.clear()
      // what it was at is told as failed, for no reason, in 1970; and is begun again
      end({ detail: null }, 1_000)
      // the one before may still be on its way out of the object that it died in
      const begin = () => (isWorking ? setTimeout(begin, 5) : life.isAlive() && void work(life))
      begin()
    },
    /** In the dashboard's list; the progress stays at 0 there too. */
    events(): ListedTasks {
      const common = (row: Row, beganMs: number) => ({
        name: 'rbd/flatten',
        metadata: { image_spec: `${row.pool}/${row.image}` },
        begin_time: isoTime(beganMs),
      })
      return {
        executing_tasks: begun ? [{ ...common(begun.row, begun.atMs), progress: 0 }] : [],
        finished_tasks: ended.map(({ row, beganMs, endedMs, exception }) => ({
          ...common(row, beganMs),
          end_time: isoTime(endedMs),
          duration: (endedMs - beganMs) / 1000,
          progress: 100,
          success: exception === null,
          ret_value: null,
          exception,
        })),
      }
    },
    isServed: () => worker?.isAlive() === true,

    /** The same image again is the same task. */
    add(pool: string, image: string): Row {
      const { id: imageId, parent } = cluster.info(pool, image)
      const known = rows().find((row) => row.imageId === imageId) ?? finished.get(imageId)
      if (known) return known
      if (!parent) throw new RbdError(EINVAL, `Image ${pool}/${image} does not have a parent`)
      const sql = 'INSERT INTO tasks (id, pool, image, imageId) VALUES (?, ?, ?, ?)'
      store.run(sql, randomUUID(), pool, image, imageId)
      if (worker) void work(worker)
      return rows().at(-1) as Row
    },

    list: () => rows().map((row) => ({ ...row, fraction: fractions.get(row.id) ?? null })),

    cancel(id: string) {
      const row = rows().find((task) => task.id === id)
      if (!row) throw new RbdError(ENOENT, `No such task ${id}`)
      cancelled.add(id)
      if (!fractions.has(id)) drop(row)
    },

    close: () => store.close(),
  }
}
export type RbdTasks = ReturnType<typeof openRbdTasks>
