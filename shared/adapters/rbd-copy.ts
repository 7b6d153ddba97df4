import { Failure } from '../failures.ts'
import type { Progress, RbdImage, RbdSnap, Volumes } from '../ports/volumes.ts'
import { errno, imageOf, type Patience, type RbdCalls, spec } from './rbd-calls.ts'
import { failureOf, isErrno, missing, notCopiable } from './rbd-failures.ts'
import { mustHaveRoom } from './rbd-room.ts'
import { pause } from './wait.ts'

/**
 * A full copy under a temporary name; the rename is the commit. A copy that was cut short has the right size and looks whole, so
 * what is under the temporary name counts only while the gateway itself remembers that it finished.
 */
export function copies(
  calls: RbdCalls,
  patience: Patience,
  ensureAbsent: Volumes['ensureAbsent'],
): Volumes['ensureCopy'] {
  return async function ensureCopy(source, temporary, target, signal) {
    if (await isCommitted(source, target, signal)) return { is: 'done' }
    const work = await calls.underWay('copy', temporary, signal)
    if (work) return { is: 'running', ...work }
    if ((await calls.look(temporary, signal)).is !== 'absent') {
      const end = await calls.copyEnd(source, temporary, signal)
      if (end?.is === 'ok') return commit(temporary, target, source, signal)
      if (!(await isCleared(temporary, signal))) return { is: 'running', fraction: null }
      if (end?.is === 'errno') throw failureOf(spec(temporary), end, notCopiable)
    }
    await mustHaveRoom(calls, 'copy', temporary, signal)
    const reply = await calls.copy(source, temporary, signal)
    if (reply.is === 'ok') return commit(temporary, target, source, signal)
    if (reply.is === 'started') return { is: 'running', fraction: null }
    if (isErrno(reply, errno.ENOENT)) throw await missing(calls, source, signal)
    // begun by another since we looked
    throw failureOf(spec(temporary), reply, { ...notCopiable, [errno.EEXIST]: 'CEPH_BUSY' })
  }

  /** In use: another worker's command, which nobody here remembers, is still writing it. */
  async function isCleared(temporary: RbdImage, signal: AbortSignal): Promise<boolean> {
    try {
      await ensureAbsent(temporary, [], signal)
      return true
    } catch (error) {
      if (error instanceof Failure && error.code === 'CEPH_BUSY') return false
      throw error
    }
  }

  async function isCommitted(source: RbdSnap, target: RbdImage, signal: AbortSignal): Promise<boolean> {
    const there = await calls.look(target, signal)
    if (there.is === 'absent') return false
    const from = await calls.look(imageOf(source), signal)
    if (from.is === 'absent') throw await missing(calls, source, signal)
    const size = from.is === 'there' ? from.state.snaps.find((s) => s.name === source.snap)?.sizeBytes : undefined
    if (there.is === 'there' && there.state.parent === null && there.state.sizeBytes === size) return true
    throw new Failure('NAME_TAKEN', `${spec(target)} is there and is not a copy of ${spec(source)}`)
  }

  async function commit(from: RbdImage, to: RbdImage, source: RbdSnap, signal: AbortSignal): Promise<Progress> {
    if (from.pool !== to.pool) throw new Failure('BAD_REQUEST', `${spec(from)} cannot be renamed into another pool`)
    const reply = await calls.rename(from, to.image, signal)
    if (reply.is === 'errno' && !isErrno(reply, errno.ENOENT)) throw failureOf(spec(to), reply)
    while (!(await isCommitted(source, to, signal))) await pause(patience.everyMs, signal, spec(to))
    return { is: 'done' }
  }
}
