import type { RbdImage, RbdSnap, Volumes } from '../ports/volumes.ts'
import { errno, imageOf, type Look, type Patience, type RbdCalls, type Reply, sameImage, spec } from './rbd-calls.ts'
import { failureOf, isErrno, missing, notClonable } from './rbd-failures.ts'
import { mustHaveRoom } from './rbd-room.ts'
import { pause } from './wait.ts'

type Verdict = 'verified' | 'half-made' | 'foreign'

/**
 * A clone that "exists" may have no parent and read as zeros, have a parent that does not know it, or not open at all, when the
 * client that made it was killed (27 of 60 kills, Ceph 16.2). So no answer is believed: parent, size and the parent's list of
 * children have to agree.
 */
export function clones(calls: RbdCalls, patience: Patience): Volumes['ensureClone'] {
  return async function ensureClone(source, child, signal) {
    await mustHaveRoom(calls, 'clone', child, signal)
    const reply = await calls.clone(source, child, signal)
    if (isErrno(reply, errno.ENOENT)) throw await missing(calls, source, signal)
    if (reply.is === 'errno' && !isErrno(reply, errno.EEXIST)) throw failureOf(spec(child), reply, notClonable)
    return settled(source, child, reply, signal)
  }

  /** Bad news is believed when it lasts: a clone in the making passes through each half-made form. */
  async function settled(source: RbdSnap, child: RbdImage, reply: Reply, signal: AbortSignal) {
    const settling = AbortSignal.timeout(patience.settleMs)
    for (;;) {
      const isLastLook = settling.aborted
      const verdict = await judge(source, child, signal)
      if (verdict !== 'half-made') return verdict
      if (isLastLook) {
        const isRunning = reply.is === 'started' || (await calls.underWay('clone', child, signal)) !== null
        return isRunning ? 'running' : 'half-made'
      }
      await pause(patience.everyMs, signal, spec(child))
    }
  }

  async function judge(source: RbdSnap, child: RbdImage, signal: AbortSignal): Promise<Verdict> {
    const kid = await calls.look(child, signal)
    if (kid.is === 'hidden') return 'foreign'
    if (kid.is === 'absent') return 'half-made'
    const { parent, sizeBytes, snaps } = kid.state
    // nothing half made bears a snapshot: that is somebody's whole image, or our own after its flatten
    const isBare = snaps.length === 0
    if (parent === null) return isBare ? 'half-made' : 'foreign'
    if (!sameImage(parent, source) || parent.snap !== source.snap) return 'foreign'
    const known = snapOf(await calls.look(imageOf(source), signal), source)
    if (!known) throw await missing(calls, source, signal)
    const isWhole = known.sizeBytes === sizeBytes && known.children.some((c) => sameImage(c, child))
    if (isWhole) return 'verified'
    return isBare ? 'half-made' : 'foreign'
  }
}

function snapOf(look: Look, snap: RbdSnap) {
  return look.is === 'there' ? look.state.snaps.find((s) => s.name === snap.snap) : undefined
}
