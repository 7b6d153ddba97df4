import type { RbdImage, RbdSnap, Volumes } from '../ports/volumes.ts'
import { errno, imageOf, named, type Patience, type RbdCalls, type RbdImageState, spec } from './rbd-calls.ts'
import { busy, failureOf, isErrno } from './rbd-failures.ts'
import { pause } from './wait.ts'

type SnapState = RbdImageState['snaps'][number]

/** Removing looks first: the dashboard's DELETE takes an image's snapshots away before it finds that it cannot remove the image. */
export function removal(calls: RbdCalls, patience: Patience): Pick<Volumes, 'ensureAbsent' | 'ensureSnapshotAbsent'> {
  async function ensureSnapshotAbsent(snap: RbdSnap, signal: AbortSignal): Promise<void> {
    const look = await calls.look(imageOf(snap), signal)
    if (look.is === 'hidden') throw busy(spec(snap), 'the gateway cannot show whether it has children')
    if (look.is === 'absent') return
    const state = look.state.snaps.find((s) => s.name === snap.snap)
    if (state) await removeSnap(snap, state, signal)
  }

  async function removeSnap(snap: RbdSnap, state: SnapState, signal: AbortSignal): Promise<void> {
    // with clone format 2 Ceph would take it away below its children, into the trash
    if (state.children.length > 0) throw busy(spec(snap), clonesOf(state.children))
    if (state.isProtected) {
      const reply = await calls.unprotect(snap, signal)
      // EINVAL: it was unprotected since we looked
      if (reply.is === 'errno' && !isErrno(reply, errno.ENOENT, errno.EINVAL)) throw failureOf(spec(snap), reply)
      if (reply.is === 'started') await until(snap, (s) => s?.isProtected !== true, signal)
    }
    const reply = await calls.removeSnap(snap, signal)
    if (reply.is === 'errno' && !isErrno(reply, errno.ENOENT)) throw failureOf(spec(snap), reply)
    if (reply.is === 'started') await until(snap, (s) => s === undefined, signal)
  }

  async function until(
    snap: RbdSnap,
    isDone: (s: SnapState | undefined) => boolean,
    signal: AbortSignal,
  ): Promise<void> {
    for (;;) {
      const look = await calls.look(imageOf(snap), signal)
      const state = look.is === 'there' ? look.state.snaps.find((s) => s.name === snap.snap) : undefined
      if (look.is === 'absent' || (look.is === 'there' && isDone(state))) return
      await pause(patience.everyMs, signal, spec(snap))
    }
  }

  async function ensureAbsent(image: RbdImage, ownSnaps: string[], signal: AbortSignal): Promise<void> {
    const look = await calls.look(image, signal)
    if (look.is === 'hidden') throw busy(spec(image), 'the gateway cannot show what hangs on it')
    if (look.is === 'absent') {
      const reply = await calls.removeUnopenable(image, signal)
      if (reply.is === 'errno' && !isErrno(reply, errno.ENOENT)) throw failureOf(spec(image), reply)
      return
    }
    mayGo(image, look.state, ownSnaps)
    if (look.state.parent) await calls.callOff?.(image, signal)
    for (const state of look.state.snaps) await removeSnap({ ...image, snap: state.name }, state, signal)
    await remove(image, signal)
  }

  function mayGo(image: RbdImage, state: RbdImageState, ownSnaps: string[]): void {
    for (const { name, children } of state.snaps) {
      if (!ownSnaps.includes(name)) throw busy(spec(image), `it bears the snapshot ${name}, which is not ours`)
      if (children.length > 0) throw busy(`${spec(image)}@${name}`, clonesOf(children))
    }
  }

  async function remove(image: RbdImage, signal: AbortSignal): Promise<void> {
    const reply = await calls.remove(image, signal)
    if (reply.is === 'errno' && !isErrno(reply, errno.ENOENT)) throw failureOf(spec(image), reply)
    if (reply.is !== 'started') return
    while ((await calls.look(image, signal)).is !== 'absent') await pause(patience.everyMs, signal, spec(image))
  }

  return { ensureAbsent, ensureSnapshotAbsent }
}

const clonesOf = (children: RbdImage[]) => `it has the clone ${children.map(named).join(', ')}`
