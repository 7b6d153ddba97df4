import { setTimeout as sleep } from 'node:timers/promises'
import { type Cluster, type Pace, RbdError } from './cluster.ts'
import { type Answer, type Faults, type Request, serve } from './http.ts'
import type { RbdTasks } from './rbd-tasks.ts'

export interface RbdCall {
  fsid: string
  pool: string
  image: string
  snap?: string
  target?: { pool: string; image: string }
  features?: string[]
  offset?: number
  length?: number
  /** by which the progress of a flatten or a copy can be asked for meanwhile */
  job?: string
}
type LongOperation = 'flatten' | 'copy'

/**
 * What the stand-in for the `rbd` command calls: librbd by HTTP, one call a path. Work ends where it is when the
 * command that asked for it is killed, as a librbd client's does. Faults are for the service `rbd`.
 */
export async function serveRbd(options: {
  clusters: Record<string, Cluster>
  /** of the cluster that has managers */
  tasks: RbdTasks
  port: number
  faults: Faults
}) {
  const clusters = Object.values(options.clusters)
  const slowMs = new Map<string, number>()
  const percent = new Map<string, number>()

  function paceOf(operation: string, call: RbdCall, request: Request): Pace {
    return async (done, total) => {
      if (call.job !== undefined) percent.set(call.job, Math.floor((100 * done) / total))
      await sleep(slowMs.get(operation) ?? 0)
      if (request.raw.socket.destroyed) throw new Error('the client is gone')
    }
  }

  async function handler(request: Request): Promise<Answer> {
    const call = JSON.parse(request.body.toString()) as RbdCall
    const operation = request.path.slice(1)
    if (operation === 'progress') return { status: 200, body: { percent: percent.get(call.job ?? '') ?? 0 } }
    const cluster = clusters.find(({ fsid }) => fsid === call.fsid)
    if (!cluster) return { status: 404, body: { error: `no cluster ${call.fsid}` } }
    try {
      if (operation.startsWith('task-')) return await performTask(options.tasks, operation, call)
      return await perform(cluster, operation, call, paceOf(operation, call, request))
    } catch (error) {
      if (!(error instanceof RbdError)) throw error
      return { status: 409, body: { errno: error.errno, component: error.component } }
    } finally {
      percent.delete(call.job ?? '')
    }
  }

  const { port, close } = await serve({ service: 'rbd', port: options.port, faults: options.faults, handler })
  return {
    port,
    close,
    /** Each object takes that long; 0 again for as fast as can be. */
    slow: (operation: LongOperation, perObjectMs: number) => void slowMs.set(operation, perObjectMs),
  }
}

async function perform(cluster: Cluster, operation: string, call: RbdCall, pace: Pace): Promise<Answer> {
  const { pool, image, snap = '', target = { pool: '', image: '' } } = call
  switch (operation) {
    case 'ls':
      return { status: 200, body: cluster.images(pool) }
    case 'facts':
      return {
        status: 200,
        body: { fsid: cluster.fsid, cloneFormat: cluster.cloneFormat, fullPools: cluster.fullPools() },
      }
    case 'info':
      return { status: 200, body: cluster.info(pool, image) }
    case 'read':
      return readRange(cluster, call)
    case 'snap-create':
      await cluster.snapCreate(pool, image, snap)
      return { status: 204 }
    case 'snap-remove':
      await cluster.snapRemove(pool, image, snap)
      return { status: 204 }
    case 'snap-protect':
      cluster.snapProtect(pool, image, snap)
      return { status: 204 }
    case 'snap-unprotect':
      cluster.snapUnprotect(pool, image, snap)
      return { status: 204 }
    case 'clone':
      cluster.clone({ pool, image, snap }, target, call.features)
      return { status: 204 }
    case 'flatten':
      await cluster.flatten(pool, image, pace)
      return { status: 204 }
    case 'copy':
      await cluster.copy({ pool, image, snap: call.snap ?? null }, target, pace, call.features)
      return { status: 204 }
    case 'rename':
      cluster.rename(pool, image, target.image)
      return { status: 204 }
    case 'remove':
      cluster.remove(pool, image)
      return { status: 204 }
    default:
      return { status: 404, body: { error: `no operation ${operation}` } }
  }
}

/** A command for the managers waits until one is active. */
async function performTask(tasks: RbdTasks, operation: string, { pool, image, snap = '' }: RbdCall): Promise<Answer> {
  while (!tasks.isServed()) await sleep(20)
  if (operation === 'task-list') return { status: 200, body: tasks.list() }
  if (operation === 'task-cancel') {
    tasks.cancel(snap)
    return { status: 204 }
  }
  return { status: 200, body: tasks.add(pool, image) }
}

/** 204 for a range that is all holes */
function readRange(cluster: Cluster, { pool, image, snap, offset = 0, length = 0 }: RbdCall): Answer {
  const bytes = cluster.readOrHole(pool, image, snap ?? null, offset, length)
  if (!bytes) return { status: 204 }
  return { status: 200, headers: { 'content-type': 'application/octet-stream' }, body: bytes }
}
