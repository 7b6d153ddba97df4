import { Failure } from '../failures.ts'
import type { RbdImage, RbdSnap, RbdState } from '../ports/volumes.ts'

/**
 * What a gateway to RBD can do: one librbd call each, answered as librbd does. What a repeat, a lost answer or something half
 * made means is the same for every gateway and is in rbd-volumes.ts.
 */
export interface RbdCalls {
  look(image: RbdImage, signal: AbortSignal): Promise<Look>
  createSnap(snap: RbdSnap, signal: AbortSignal): Promise<Reply>
  protect(snap: RbdSnap, signal: AbortSignal): Promise<Reply>
  unprotect(snap: RbdSnap, signal: AbortSignal): Promise<Reply>
  removeSnap(snap: RbdSnap, signal: AbortSignal): Promise<Reply>
  clone(source: RbdSnap, child: RbdImage, signal: AbortSignal): Promise<Reply>
  flatten(image: RbdImage, signal: AbortSignal): Promise<Reply>
  copy(source: RbdSnap, target: RbdImage, signal: AbortSignal): Promise<Reply>
  rename(image: RbdImage, name: string, signal: AbortSignal): Promise<Reply>
  remove(image: RbdImage, signal: AbortSignal): Promise<Reply>
  /** Clears a name whose image does not open; ENOENT when there is nothing. */
  removeUnopenable(image: RbdImage, signal: AbortSignal): Promise<Reply>
  /** Work of this gateway on that image which has not ended. */
  underWay(kind: Work, image: RbdImage, signal: AbortSignal): Promise<{ fraction: number | null } | null>
  /** Ends a flatten of the image which is under way, where the gateway can: what is flattened is in use and cannot be removed. */
  callOff?: (image: RbdImage, signal: AbortSignal) => Promise<void>
  /** The monitors' words when this pool takes no more, where the gateway can tell. */
  whyFull?: (pool: string, signal: AbortSignal) => Promise<string | null>
  /** How the last copy to that image ended, as far as this gateway remembers. */
  copyEnd(source: RbdSnap, target: RbdImage, signal: AbortSignal): Promise<Reply | null>
}

/**
 * Explicit, because a clone takes over its parent's features otherwise.
 * - with deep-flatten: without it a snapshot taken before the flatten stays tied to the parent after it
 * - without object-map (and fast-diff, which needs it): librbd marks an object in the map before it copies it, and a flatten skips what is
 *   marked. Begun again after its client died, it leaves out what was on its way, cuts the parent off, and that reads as zeros: Ceph 16.2
 *   did so in 12 of 14 kills, by the dashboard, by `rbd` and by `ceph rbd task`, and in none of 14 without the map. Mended in Ceph at the
 *   end of 2024 (tracker 68998, ceph/ceph#61129)
 */
export const cloneFeatures = ['layering', 'exclusive-lock', 'deep-flatten']

/** What a copy has: nothing of it is ever flattened, and without layering its `snap` could not be protected. */
export const copyFeatures = ['layering', 'exclusive-lock', 'object-map', 'fast-diff', 'deep-flatten']

export interface Patience {
  /** between two looks at something that goes on */
  everyMs: number
  /** a clone is called half made when it looked so for this long: another client may be in the middle of making it */
  settleMs: number
}

export type Work = 'clone' | 'flatten' | 'copy'

export type Look =
  | { is: 'there'; state: RbdImageState }
  /** nothing, or something that does not open: librbd says ENOENT to both */
  | { is: 'absent' }
  /** it opens, but the gateway cannot show it */
  | { is: 'hidden' }

export interface RbdImageState extends RbdState {
  snaps: (RbdState['snaps'][number] & { sizeBytes: number })[]
}

export type Reply =
  | { is: 'ok' }
  /** it goes on without us */
  | { is: 'started' }
  | { is: 'errno'; errno: number; about: 'image' | 'pool'; words: string }

export const errno = {
  EPERM: 1,
  ENOENT: 2,
  EIO: 5,
  EAGAIN: 11,
  EACCES: 13,
  EBUSY: 16,
  EEXIST: 17,
  EINVAL: 22,
  ENOSPC: 28,
  EROFS: 30,
  ENOSYS: 38,
  ENOTEMPTY: 39,
  EOPNOTSUPP: 95,
  ESHUTDOWN: 108,
  ETIMEDOUT: 110,
  EDQUOT: 122,
} as const

/**
 * No slash, at sign or leading dash: a name can never reach into another pool, name a snapshot or become an option.
 * What Nova, Glance and this program call their objects fits.
 */
const plainName = /^[A-Za-z0-9_.][A-Za-z0-9_.:+-]*$/

function plain(name: string): string {
  if (plainName.test(name)) return name
  throw new Failure('BAD_REQUEST', `${JSON.stringify(name.slice(0, 100))} cannot be the name of an RBD object`)
}

/** `pool/image` or `pool/image@snap`, as the operator and the command line write it. */
export function spec(thing: RbdImage | RbdSnap): string {
  const image = `${plain(thing.pool)}/${plain(thing.image)}`
  return 'snap' in thing ? `${image}@${plain(thing.snap)}` : image
}

/** The same for people, of names that others gave. */
export const named = ({ pool, image }: RbdImage) => `${pool}/${image}`

export const sameImage = (a: RbdImage, b: RbdImage) => a.pool === b.pool && a.image === b.image
export const imageOf = ({ pool, image }: RbdSnap): RbdImage => ({ pool, image })
