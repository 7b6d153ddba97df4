import type { RbdImage, RbdSnap, RbdState } from '../../shared/ports/volumes.ts'
import type { FakeClock } from './clock.ts'

/**
 * An RBD cluster's state and clone format 1's rules, errnos as librbd gives them. Content is a word instead of bytes: a disk
 * that a guest writes to has another one every moment, null reads as zeros.
 */
export type Actor = 'rbdsnap' | 'nova' | 'glance' | 'tenant'

export class Errno extends Error {
  readonly errno: number
  constructor(errno: number, words: string) {
    super(`[errno ${errno}] ${words}`)
    this.errno = errno
  }
}
export const errnos = { ENOENT: 2, EBUSY: 16, EEXIST: 17, EINVAL: 22, ENOSYS: 38, ENOTEMPTY: 39 } as const

export interface FakeSnap {
  content: string | null
  isProtected: boolean
}
export interface FakeImage {
  sizeBytes: number
  /** a clone's own content counts only once it has no parent */
  content: string | null
  live: (() => string) | null
  parent: RbdSnap | null
  snaps: Map<string, FakeSnap>
  canLayer: boolean
  /** half made: known to its parent, but does not open; or opens, and its parent does not know it */
  defect: 'unopenable' | 'unknown-to-parent' | null
  isInUse: boolean
  madeBy: Actor
}

export interface CephEvent {
  atMs: number
  by: Actor
  op: 'create' | 'clone' | 'remove' | 'rename' | 'snap create' | 'snap remove' | 'protect' | 'unprotect' | 'flattened'
  pool: string
  image: string
  snap: string | null
  /** of a `remove`, who had made it */
  madeBy: Actor
}

export type Ceph = ReturnType<typeof fakeCeph>

export function fakeCeph(clock: FakeClock, options: { fsid: string; onEvent?: (event: CephEvent) => void }) {
  const images = new Map<string, FakeImage>()
  const events: CephEvent[] = []

  const key = ({ pool, image }: RbdImage) => `${pool}/${image}`
  const image = (at: RbdImage): FakeImage => {
    const found = images.get(key(at))
    if (!found) throw new Errno(errnos.ENOENT, key(at))
    return found
  }
  const snapOf = (at: RbdSnap): FakeSnap => {
    const found = image(at).snaps.get(at.snap)
    if (!found) throw new Errno(errnos.ENOENT, `${key(at)}@${at.snap}`)
    return found
  }
  const note = (by: Actor, op: CephEvent['op'], at: RbdImage | RbdSnap, madeBy: Actor = by) => {
    const snap = 'snap' in at ? at.snap : null
    const event: CephEvent = { atMs: clock.nowMs(), by, op, pool: at.pool, image: at.image, snap, madeBy }
    events.push(event)
    options.onEvent?.(event)
  }
  const childrenOf = (at: RbdSnap): RbdImage[] =>
    [...images].flatMap(([name, { parent, defect }]) => {
      const isChild = parent && key(parent) === key(at) && parent.snap === at.snap && defect !== 'unknown-to-parent'
      const [pool = '', child = ''] = name.split('/')
      return isChild ? [{ pool, image: child }] : []
    })
  const contentOf = (found: FakeImage): string | null => {
    if (found.live) return found.live()
    return found.parent ? (images.get(key(found.parent))?.snaps.get(found.parent.snap)?.content ?? null) : found.content
  }

  return {
    fsid: options.fsid,
    images,
    events,
    childrenOf,
    has: (at: RbdImage) => images.has(key(at)),
    content: (at: RbdImage) => contentOf(image(at)),
    image,
    snapOf,

    create(by: Actor, at: RbdImage, made: Partial<FakeImage> & { sizeBytes: number }): FakeImage {
      if (images.has(key(at))) throw new Errno(errnos.EEXIST, key(at))
      const fresh: FakeImage = {
        content: null,
        live: null,
        parent: null,
        snaps: new Map(),
        canLayer: true,
        defect: null,
        isInUse: false,
        madeBy: by,
        ...made,
      }
      images.set(key(at), fresh)
      note(by, made.parent === undefined ? 'create' : 'clone', at)
      return fresh
    },

    snapCreate(by: Actor, at: RbdSnap): void {
      const of = image(at)
      if (of.snaps.has(at.snap)) throw new Errno(errnos.EEXIST, `${key(at)}@${at.snap}`)
      of.snaps.set(at.snap, { content: contentOf(of), isProtected: false })
      note(by, 'snap create', at)
    },

    protect(by: Actor, at: RbdSnap): void {
      if (!image(at).canLayer) throw new Errno(errnos.ENOSYS, 'image must support layering')
      if (snapOf(at).isProtected) return
      snapOf(at).isProtected = true
      note(by, 'protect', at)
    },

    unprotect(by: Actor, at: RbdSnap): void {
      const snap = snapOf(at)
      if (!snap.isProtected) throw new Errno(errnos.EINVAL, 'snapshot is not protected')
      if (childrenOf(at).length > 0) throw new Errno(errnos.EBUSY, 'snapshot has children')
      snap.isProtected = false
      note(by, 'unprotect', at)
    },

    snapRemove(by: Actor, at: RbdSnap): void {
      if (snapOf(at).isProtected) throw new Errno(errnos.EBUSY, 'snapshot is protected')
      image(at).snaps.delete(at.snap)
      note(by, 'snap remove', at)
    },

    /** @returns the child, whose parent is set by `adopt`; in between it is half made */
    clone(by: Actor, source: RbdSnap, child: RbdImage): FakeImage {
      const { sizeBytes, canLayer } = image(source)
      if (!canLayer || !snapOf(source).isProtected) throw new Errno(errnos.EINVAL, 'parent snapshot must be protected')
      return this.create(by, child, { sizeBytes, parent: null })
    },
    adopt(child: RbdImage, source: RbdSnap): void {
      image(child).parent = source
    },

    flattenNow(by: Actor, at: RbdImage): void {
      const child = image(at)
      if (!child.parent) throw new Errno(errnos.EINVAL, 'image has no parent')
      child.content = contentOf(child)
      child.parent = null
      note(by, 'flattened', at)
    },

    rename(by: Actor, from: RbdImage, to: RbdImage): void {
      if (images.has(key(to))) throw new Errno(errnos.EEXIST, key(to))
      const moved = image(from)
      images.delete(key(from))
      images.set(key(to), moved)
      note(by, 'rename', to)
    },

    remove(by: Actor, at: RbdImage): void {
      const { snaps, isInUse, madeBy } = image(at)
      if (snaps.size > 0) throw new Errno(errnos.ENOTEMPTY, 'image has snapshots')
      if (isInUse) throw new Errno(errnos.EBUSY, 'image has watchers')
      images.delete(key(at))
      note(by, 'remove', at, madeBy)
    },

    stateOf(at: RbdImage): RbdState {
      const { sizeBytes, parent, snaps } = image(at)
      return {
        sizeBytes,
        parent,
        snaps: [...snaps].map(([name, { isProtected }]) => {
          const children = childrenOf({ ...at, snap: name })
          return { name, isProtected, children, isUsed: children.length > 0 }
        }),
        hasUnlistedSnaps: false,
      }
    },
  }
}
