import { Failure } from '../failures.ts'
import type { RbdSnap, Volumes } from '../ports/volumes.ts'
import { errno, imageOf, type Patience, type RbdCalls, spec } from './rbd-calls.ts'
import { clones } from './rbd-clone.ts'
import { copies } from './rbd-copy.ts'
import { failureOf, isErrno, missing, notClonable } from './rbd-failures.ts'
import { removal } from './rbd-removal.ts'
import { pause } from './wait.ts'

export const ordinaryPatience: Patience = { everyMs: 200, settleMs: 2_000 }

/** The port over one gateway's calls: every method may be repeated, and the state of the images is the only truth. */
export function volumesOver(calls: RbdCalls, fsid: () => Promise<string>, patience: Patience): Volumes {
  const { ensureAbsent, ensureSnapshotAbsent } = removal(calls, patience)

  /** What is under `snap` now; the call was answered before it was done. */
  async function untilSnap(snap: RbdSnap, isDone: (s: { isProtected: boolean }) => boolean, signal: AbortSignal) {
    for (;;) {
      const look = await calls.look(imageOf(snap), signal)
      if (look.is === 'there' && look.state.snaps.some((s) => s.name === snap.snap && isDone(s))) return
      await pause(patience.everyMs, signal, spec(snap))
    }
  }

  return {
    fsid,

    async find(image, signal) {
      const look = await calls.look(image, signal)
      if (look.is === 'there') return look.state
      if (look.is === 'absent') return null
      // Until the clone that hangs on that snapshot is flattened or gone: nothing that a person has to mend.
      const why = 'a snapshot of it is in the trash, below a clone (ceph/ceph#57151)'
      throw new Failure('CEPH_BUSY', `${spec(image)}: it is there, but the gateway cannot show it: ${why}`)
    },

    async ensureSnapshot(snap, signal) {
      const reply = await calls.createSnap(snap, signal)
      if (reply.is === 'started') return untilSnap(snap, () => true, signal)
      if (reply.is === 'ok' || isErrno(reply, errno.EEXIST)) return
      throw failureOf(spec(snap), reply)
    },

    async ensureProtected(snap, signal) {
      const reply = await calls.protect(snap, signal)
      if (reply.is === 'ok') return
      if (reply.is === 'started') return untilSnap(snap, (s) => s.isProtected, signal)
      if (isErrno(reply, errno.EBUSY) && (await isProtected(calls, snap, signal))) return
      if (isErrno(reply, errno.ENOENT)) throw await missing(calls, snap, signal)
      throw failureOf(spec(snap), reply, notClonable)
    },

    ensureSnapshotAbsent,
    ensureClone: clones(calls, patience),

    async flatten(child, signal) {
      const look = await calls.look(child, signal)
      if (look.is === 'there' && look.state.parent === null) return { is: 'done' }
      // the same flatten again would hold one of the manager's ten threads
      const work = await calls.underWay('flatten', child, signal)
      if (work) return { is: 'running', ...work }
      const reply = await calls.flatten(child, signal)
      if (reply.is === 'ok') return { is: 'done' }
      if (reply.is === 'started') return { is: 'running', fraction: null }
      if (isErrno(reply, errno.EINVAL)) {
        const after = await calls.look(child, signal)
        if (after.is === 'hidden' || (after.is === 'there' && after.state.parent === null)) return { is: 'done' }
      }
      throw failureOf(spec(child), reply, { [errno.ENOENT]: 'IMAGE_GONE' })
    },

    ensureCopy: copies(calls, patience, ensureAbsent),
    ensureAbsent,
  }
}

/** rbd's own command says EBUSY to a snapshot that is protected already. */
async function isProtected(calls: RbdCalls, snap: RbdSnap, signal: AbortSignal): Promise<boolean> {
  const look = await calls.look(imageOf(snap), signal)
  return look.is === 'there' && look.state.snaps.some((s) => s.name === snap.snap && s.isProtected)
}
