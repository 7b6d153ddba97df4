import { Failure, type FailureCode } from '../failures.ts'
import type { RbdSnap } from '../ports/volumes.ts'
import { errno, imageOf, type RbdCalls, type Reply, spec } from './rbd-calls.ts'

type Refused = Extract<Reply, { is: 'errno' }>

/** What librbd's errno means wherever a call has no better name for it. */
const usual: Partial<Record<number, FailureCode>> = {
  [errno.EPERM]: 'CEPH_REFUSED',
  [errno.EACCES]: 'CEPH_REFUSED',
  // the manager's module is not ready, after a failover
  [errno.EAGAIN]: 'CEPH_BUSY',
  [errno.ENOENT]: 'INSTANCE_GONE',
  [errno.EBUSY]: 'CEPH_BUSY',
  [errno.ENOTEMPTY]: 'CEPH_BUSY',
  [errno.EEXIST]: 'NAME_TAKEN',
  [errno.ENOSPC]: 'POOL_FULL',
  [errno.EDQUOT]: 'POOL_FULL',
  // the exclusive lock went to another client, or the manager was blocklisted in a failover
  [errno.EROFS]: 'CEPH_BUSY',
  [errno.ESHUTDOWN]: 'CEPH_UNREACHABLE',
  [errno.ETIMEDOUT]: 'CEPH_UNREACHABLE',
  [errno.EIO]: 'CEPH_UNREACHABLE',
}

/** A snapshot or clone that this disk cannot have: no `layering` (ENOSYS on protect), or refused as such (EINVAL). */
export const notClonable: Partial<Record<number, FailureCode>> = {
  [errno.EINVAL]: 'CLONE_REFUSED',
  [errno.ENOSYS]: 'CLONE_REFUSED',
  [errno.EOPNOTSUPP]: 'CLONE_REFUSED',
}

export const notCopiable: Partial<Record<number, FailureCode>> = {
  [errno.EPERM]: 'COPY_REFUSED',
  [errno.EACCES]: 'COPY_REFUSED',
  [errno.EINVAL]: 'COPY_REFUSED',
  [errno.ENOSYS]: 'COPY_REFUSED',
  [errno.EOPNOTSUPP]: 'COPY_REFUSED',
}

/** `codes` is the call's own table and goes first. */
export function failureOf(what: string, reply: Refused, codes: Partial<Record<number, FailureCode>> = {}): Failure {
  if (reply.about === 'pool' && reply.errno === errno.ENOENT) {
    return new Failure('BAD_SETTING', `${what}: Ceph has no such pool: ${reply.words}`)
  }
  const code = codes[reply.errno] ?? usual[reply.errno] ?? 'CEPH_REFUSED'
  return new Failure(code, `${what}: Ceph answered ${String(reply.errno)}: ${reply.words}`)
}

export const busy = (what: string, why: string) => new Failure('CEPH_BUSY', `${what}: ${why}`)

export function isErrno(reply: Reply, ...numbers: number[]): boolean {
  return reply.is === 'errno' && reply.about === 'image' && numbers.includes(reply.errno)
}

/** ENOENT names neither: is it the disk, or only the snapshot that we had made on it? */
export async function missing(calls: RbdCalls, snap: RbdSnap, signal: AbortSignal): Promise<Failure> {
  const look = await calls.look(imageOf(snap), signal)
  if (look.is === 'absent') return new Failure('INSTANCE_GONE', `${spec(imageOf(snap))} is not there`)
  const isThere = look.is === 'there' && look.state.snaps.some((s) => s.name === snap.snap)
  if (isThere) return busy(spec(snap), 'Ceph did not find it a moment ago, and it is there')
  return new Failure('CEPH_REFUSED', `${spec(snap)} is not there any more: somebody removed it`)
}
