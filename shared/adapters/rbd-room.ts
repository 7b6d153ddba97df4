import { Failure } from '../failures.ts'
import type { RbdImage } from '../ports/volumes.ts'
import { type RbdCalls, spec, type Work } from './rbd-calls.ts'

/**
 * Ceph refuses nothing that is written to a full pool: the client lets it wait until there is room (Objecter; on 16.2 with a quota
 * `rbd create` and `rbd snap create` hang, and the dashboard says 202 for as long). What waits comes true after its run was given
 * up, so it is asked before anything is written. Work that waits already is never called refused.
 */
export async function mustHaveRoom(calls: RbdCalls, work: Work, target: RbdImage, signal: AbortSignal): Promise<void> {
  const words = (await calls.whyFull?.(target.pool, signal)) ?? null
  if (words === null || (await calls.underWay(work, target, signal))) return
  throw new Failure('POOL_FULL', `${spec(target)}: Ceph says: ${words}`)
}
