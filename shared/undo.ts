import { Failure } from './failures.ts'
import { isDeadUpload } from './dead-upload.ts'
import { guestOf, instanceLease, isThawed, release } from './freeze.ts'
import { hurry } from './hurry.ts'
import { isRecordOf } from './image-record.ts'
import { glanceSnapName, glanceVolume, properties, sourceSnap, temporaryCopy } from './names.ts'
import type { UndoName } from './pipeline.ts'
import type { Image } from './ports/images.ts'
import type { RbdState } from './ports/volumes.ts'
import type { MessageOf, Wish } from './run.ts'
import { clusterOf, homeOf, type Context, type Ports } from './step.ts'
import { mayWorkOnImage } from './server-state.ts'

/**
 * The undos, one a step, noted in the journal before the step acts; `unwind` runs the noted ones in reverse.
 *
 * NOTE: delete only what the run's own record notes. Each undo is content with "not there", may run twice, and looks before it
 * removes: a name may by now stand for something else. Something else that is missing is never a reason to delete.
 * `later` means that it cannot be decided yet, because Nova is still at work on the same image.
 */
export type Undone = 'undone' | 'later'
type Undo = (run: MessageOf<'unwind'>, ports: Ports, ctx: Context) => Promise<Undone>

export const undos: Record<UndoName, Undo> = {
  /** Back to how Nova left it; and when Nova failed meanwhile, and could not delete its image because of us, delete it. */
  releaseClaim: async ({ wish, sinceMs }, ports, ctx) => {
    const image = await ports.images.find(wish.image, ctx.signal)
    if (image?.properties[properties.run] !== wish.run) return 'undone'
    const server = await ports.compute.find(wish.instance, ctx.signal)
    if (mayWorkOnImage(server, sinceMs, ctx.clock.nowMs())) return 'later'
    try {
      if (image.properties[properties.ownerProtected] !== 'true')
        await ports.images.setProtected(wish.image, false, ctx.signal)
      if (image.status === 'queued') await ports.images.ensureQueuedAbsent(wish.image, ctx.signal)
      else await ports.images.removeProperties(wish.image, ownProperties(image.properties), ctx.signal)
    } catch (error) {
      // Its owner deleted it since we looked.
      if (!(error instanceof Failure) || error.code !== 'IMAGE_GONE') throw error
    }
    return 'undone'
  },

  thaw: async ({ wish }, ports, ctx) => {
    const lease = await ports.leases.find(instanceLease(wish.instance))
    if (lease?.holder !== wish.run || !lease.freeze) return 'undone'
    if (!(await isThawed(guestOf(lease), ports, ctx))) return 'later'
    await release(lease, ctx.clock.nowMs(), ports)
    return 'undone'
  },

  dropSourceSnapshot: async ({ wish, disk }, ports, ctx) => {
    if (disk) await clusterOf(disk, ports).ensureSnapshotAbsent(sourceSnap(wish, disk), ctx.signal)
    return 'undone'
  },

  dropClone: async (run, ports, ctx) => dropImage(run, ports, ctx),

  /** Only our own, and only while it is queued. */
  dropRecord: async ({ wish }, ports, ctx) => {
    if (wish.trigger.is === 'take-over') return 'undone'
    const image = await ports.images.find(wish.image, ctx.signal)
    if (image && isRecordOf(wish, image)) await ports.images.ensureQueuedAbsent(wish.image, ctx.signal)
    return 'undone'
  },

  dropCopy: async (run, ports, ctx) => {
    await homeOf(ports).ensureAbsent(temporaryCopy(run.wish, ctx.settings.glancePool), [], ctx.signal)
    return dropImage(run, ports, ctx)
  },
}

/** The volume first: which volumes may go is told by the record. */
async function dropImage(run: MessageOf<'unwind'>, ports: Ports, ctx: Context): Promise<Undone> {
  const dropped = await dropVolume(run, ports, ctx)
  return dropped === 'undone' ? undos.dropRecord(run, ports, ctx) : dropped
}

/** The volume under the image's id; never when an image is registered on it. */
async function dropVolume(run: MessageOf<'unwind'>, ports: Ports, ctx: Context): Promise<Undone> {
  const { wish } = run
  const volumes = homeOf(ports)
  const volume = glanceVolume(wish, ctx.settings.glancePool)
  const mustBeSoon = hurry(ctx)
  const image = await ports.images.find(wish.image, ctx.signal)
  if (image?.status === 'saving') {
    if ((await dropDeadUpload(run, image, mustBeSoon, ports, ctx)) === 'later') return 'later'
  } else if (image && image.status !== 'queued') return 'undone'
  const state = await volumes.find(volume, ctx.signal)
  if (!state) {
    // A clone that does not open reads as absent (Ceph 16.2); in a take-over the name may be Nova's.
    if (wish.trigger.is !== 'take-over') await volumes.ensureAbsent(volume, [glanceSnapName], ctx.signal)
    return 'undone'
  }
  if (wish.trigger.is === 'take-over') {
    const server = await ports.compute.find(wish.instance, ctx.signal)
    const isAtWork = mayWorkOnImage(server, run.sinceMs, ctx.clock.nowMs())
    if (isAtWork && !isFromOurSnapshot(wish, state)) return 'later'
  }
  if (await isOurVolume(run, state, ports, ctx)) await volumes.ensureAbsent(volume, [glanceSnapName], ctx.signal)
  return 'undone'
}

/** An upload that somebody is at will be an image or none: nobody can say yet. The record of one that is dead goes before its volume. */
async function dropDeadUpload(
  { wish, sinceMs }: MessageOf<'unwind'>,
  image: Image,
  mustBeSoon: () => void,
  { images, compute }: Ports,
  ctx: Context,
): Promise<Undone> {
  if (!isDeadUpload(image, ctx.clock.nowMs()) || !isRecordOf(wish, image)) return 'later'
  if (wish.trigger.is === 'take-over') {
    const server = await compute.find(wish.instance, ctx.signal)
    if (mayWorkOnImage(server, sinceMs, ctx.clock.nowMs())) return 'later'
    if (image.isProtected && image.properties[properties.ownerProtected] !== 'true')
      await images.setProtected(wish.image, false, ctx.signal)
  }
  const { is } = await images.remove(wish.image, mustBeSoon, ctx.signal)
  return is === 'removed' || is === 'gone' ? 'undone' : 'later'
}

function isFromOurSnapshot(wish: Wish, state: RbdState): boolean {
  return state.parent !== null && state.parent.snap === sourceSnap(wish, state.parent).snap
}

function ownProperties(all: Record<string, string>): string[] {
  return Object.keys(all).filter((name) => name.startsWith('rbdsnap_'))
}

/**
 * Ours: a clone of our own snapshot. A volume without a parent is a half-made clone or a copy of ours where the id is our own;
 * in a take-over it may be Nova's flattened clone, until Nova's attempt is over with the image still queued: then Nova has
 * given it up.
 */
export async function isOurVolume(
  { wish, sinceMs }: Pick<MessageOf<'unwind'>, 'wish' | 'sinceMs'>,
  state: RbdState,
  ports: Pick<Ports, 'compute' | 'images'>,
  ctx: Context,
): Promise<boolean> {
  if (state.parent !== null) return isFromOurSnapshot(wish, state)
  if (wish.trigger.is !== 'take-over') return true
  const server = await ports.compute.find(wish.instance, ctx.signal)
  // Read after the server: Nova makes the image active before it clears the task state.
  const image = await ports.images.find(wish.image, ctx.signal)
  return !mayWorkOnImage(server, sinceMs, ctx.clock.nowMs()) && (image === null || image.status === 'queued')
}
