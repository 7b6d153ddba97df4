import { Failure, type FailureCode } from '../../shared/failures.ts'
import type { DiskReader, Progress, RbdImage, RbdSnap, Volumes } from '../../shared/ports/volumes.ts'
import { errnos, Errno, type Ceph } from './ceph.ts'
import { heeding } from './heed.ts'
import type { FakeClock } from './clock.ts'
import { fakeWire, type Wire } from './wire.ts'

/** How long Ceph takes for what it does in the background, and what goes wrong with it. */
export interface CephTempo {
  cloneMs: number
  flattenMs: number
  copyMs: number
  /** the next clone is cut short by the death of its manager, and is left like this */
  halfMade: 'no-parent' | 'unknown-child' | 'unopenable' | null
  refusesCopy: boolean
}

export type FakeVolumes = Volumes & { loseTasks: () => void }

interface Task {
  startedAtMs: number
  endsAtMs: number
}

const rememberedMs = 60_000

const named = (at: RbdImage | RbdSnap) => `${at.pool}/${at.image}${'snap' in at ? `@${at.snap}` : ''}`

/** The port over a fake cluster. Background work is a task; tasks die with their manager (`loseTasks`). */
export function fakeVolumes(ceph: Ceph, clock: FakeClock, tempo: CephTempo, wire: Wire = fakeWire()): FakeVolumes {
  const me = 'rbdsnap'
  const { request } = wire
  let manager = 0
  const tasks = new Map<string, Task>()
  /** when it ended; the manager remembers a finished task for a minute */
  const copied = new Map<string, number>()

  const background = (name: string, ms: number, finish: () => void): void => {
    const under = manager
    const now = clock.nowMs()
    tasks.set(name, { startedAtMs: now, endsAtMs: now + ms })
    clock.in(ms, () => {
      if (under !== manager) return
      tasks.delete(name)
      finish()
    })
  }
  const running = (name: string): Progress | null => {
    const task = tasks.get(name)
    if (!task) return null
    const fraction = (clock.nowMs() - task.startedAtMs) / (task.endsAtMs - task.startedAtMs)
    return { is: 'running', fraction: Math.min(1, fraction) }
  }
  const isVisible = (at: RbdImage) => ceph.has(at) && ceph.image(at).defect !== 'unopenable'

  function removeSnap(at: RbdSnap): void {
    const { isProtected } = ceph.snapOf(at)
    const children = ceph.childrenOf(at)
    if (children.length > 0) throw new Failure('CEPH_BUSY', `${named(at)} has the clone ${children.map(named).join()}`)
    if (isProtected) request(() => ceph.unprotect(me, at))
    request(() => ceph.snapRemove(me, at))
  }

  function verdictOn(source: RbdSnap, child: RbdImage): 'verified' | 'half-made' | 'foreign' {
    if (!isVisible(child)) return 'half-made'
    const { parent, sizeBytes, snaps } = ceph.stateOf(child)
    if (parent === null) return snaps.length === 0 ? 'half-made' : 'foreign'
    if (named(parent) !== named(source)) return 'foreign'
    const isKnown = ceph.childrenOf(source).some((c) => named(c) === named(child))
    return isKnown && sizeBytes === ceph.image(source).sizeBytes ? 'verified' : 'half-made'
  }

  function startClone(source: RbdSnap, child: RbdImage): void {
    request(() => cloneNow(source, child))
  }

  function cloneNow(source: RbdSnap, child: RbdImage): void {
    const made = guard({ [errnos.EINVAL]: 'CLONE_REFUSED' }, named(child), () => ceph.clone(me, source, child))
    if (tempo.halfMade !== null) {
      const form = tempo.halfMade
      tempo.halfMade = null
      if (form !== 'no-parent') ceph.adopt(child, source)
      made.defect = form === 'unknown-child' ? 'unknown-to-parent' : form === 'unopenable' ? 'unopenable' : null
      throw new Failure('CEPH_UNREACHABLE', 'the manager died')
    }
    if (tempo.cloneMs === 0) ceph.adopt(child, source)
    else background(`clone ${named(child)}`, tempo.cloneMs, () => ceph.adopt(child, source))
  }

  return heeding<FakeVolumes>({
    loseTasks() {
      manager += 1
      tasks.clear()
      copied.clear()
    },
    fsid: async () => ceph.fsid,
    async find(at) {
      mustBeName(at)
      if (at.pool !== 'vms' && at.pool !== 'images') throw new Failure('BAD_SETTING', `Ceph has no pool ${at.pool}`)
      return isVisible(at) ? ceph.stateOf(at) : null
    },

    async ensureSnapshot(at) {
      if (!isVisible(at)) throw new Failure('INSTANCE_GONE', named(at))
      if (!ceph.image(at).snaps.has(at.snap)) request(() => ceph.snapCreate(me, at))
    },
    async ensureProtected(at) {
      if (!isVisible(at)) throw new Failure('INSTANCE_GONE', named(at))
      guard({ [errnos.ENOSYS]: 'CLONE_REFUSED', [errnos.ENOENT]: 'INSTANCE_GONE' }, named(at), () =>
        request(() => ceph.protect(me, at)),
      )
    },
    async ensureSnapshotAbsent(at) {
      if (isVisible(at) && ceph.image(at).snaps.has(at.snap)) removeSnap(at)
    },

    async ensureClone(source, child) {
      if (!ceph.has(source)) throw new Failure('INSTANCE_GONE', named(source))
      if (!ceph.image(source).snaps.has(source.snap))
        throw new Failure('CEPH_REFUSED', `${named(source)} is not there any more`)
      if (!ceph.has(child)) startClone(source, child)
      const verdict = verdictOn(source, child)
      return verdict === 'half-made' && running(`clone ${named(child)}`) ? 'running' : verdict
    },

    async flatten(child) {
      if (!isVisible(child)) throw new Failure('IMAGE_GONE', named(child))
      if (ceph.image(child).parent === null) return { is: 'done' }
      const task = `flatten ${named(child)}`
      const under = running(task)
      if (under) return under
      request(() =>
        background(task, tempo.flattenMs, () => {
          if (ceph.has(child) && ceph.image(child).parent) ceph.flattenNow(me, child)
        }),
      )
      return { is: 'running', fraction: 0 }
    },

    async ensureCopy(source, temporary, target) {
      if (!ceph.has(source)) throw new Failure('INSTANCE_GONE', named(source))
      if (tempo.refusesCopy) throw new Failure('COPY_REFUSED', named(target))
      const task = `copy ${named(temporary)}`
      const { sizeBytes } = ceph.image(source)
      if (ceph.has(target)) {
        const there = ceph.image(target)
        if (there.parent === null && there.sizeBytes === sizeBytes) return { is: 'done' }
        throw new Failure('NAME_TAKEN', named(target))
      }
      const under = running(task)
      if (under) return under
      if (ceph.has(temporary)) {
        if (clock.nowMs() - (copied.get(named(temporary)) ?? 0) < rememberedMs) {
          request(() => ceph.rename(me, temporary, target))
          copied.delete(named(temporary))
          return { is: 'done' }
        }
        // cut short: it has the right size and reads as zeros
        request(() => ceph.remove(me, temporary))
      }
      request(() => {
        const { content } = ceph.snapOf(source)
        const partial = ceph.create(me, temporary, { sizeBytes })
        background(task, tempo.copyMs, () => {
          partial.content = content
          copied.set(named(temporary), clock.nowMs())
        })
      })
      return { is: 'running', fraction: 0 }
    },

    async ensureAbsent(at, ownSnaps) {
      if (!ceph.has(at)) return
      const { snaps } = ceph.stateOf(at)
      const inTheWay = snaps.find((s) => !ownSnaps.includes(s.name) || s.children.length > 0)
      if (inTheWay) {
        const clones = inTheWay.children.map(named).join()
        throw new Failure('CEPH_BUSY', `${named(at)} bears the snapshot ${inTheWay.name} with the clones: ${clones}`)
      }
      if (ceph.image(at).isInUse) throw new Failure('CEPH_BUSY', `${named(at)} is in use`)
      if ([...tasks.keys()].some((t) => t.endsWith(` ${named(at)}`))) throw new Failure('CEPH_BUSY', named(at))
      for (const { name } of snaps) removeSnap({ ...at, snap: name })
      request(() => ceph.remove(me, at))
    },
  })
}

function mustBeName({ image }: RbdImage): void {
  if (!/^[^-\s/@][^\s/@]*$/.test(image)) throw new Failure('BAD_REQUEST', `'${image}' is not a name`)
}

/** The table (errno) -> code of an adapter; what it does not list is a state that Ceph does not have. */
function guard<T>(codes: Record<number, FailureCode>, what: string, act: () => T): T {
  try {
    return act()
  } catch (error) {
    const code = error instanceof Errno ? codes[error.errno] : undefined
    if (code === undefined) throw error
    throw new Failure(code, `${what}: ${(error as Errno).message}`)
  }
}

/** A disk's bytes: its content in front, zeros behind. */
export function fakeReader(clusters: Record<string, Ceph>): DiskReader {
  return {
    read(cluster, snap) {
      const ceph = clusters[cluster]
      return new ReadableStream({
        start(controller) {
          if (!ceph?.has(snap)) return controller.error(new Failure('INSTANCE_GONE', named(snap)))
          const { sizeBytes } = ceph.image(snap)
          const text = Buffer.from(ceph.snapOf(snap).content ?? '')
          controller.enqueue(Buffer.concat([text, Buffer.alloc(sizeBytes - text.length)]))
          controller.close()
        },
      })
    },
  }
}
