import { isDeadUpload } from '../shared/dead-upload.ts'
import { elapsedMs } from '../shared/elapsed.ts'
import { Failure } from '../shared/failures.ts'
import { diskBytesOf, ensureRecord } from '../shared/image-record.ts'
import { lambda } from '../shared/lambda.ts'
import { isOurVolume } from '../shared/undo.ts'
import { glanceSnapName, glanceVolume, properties, show, sourceSnap, temporaryCopy } from '../shared/names.ts'
import type { MessageOf } from '../shared/run.ts'
import { mayWorkOnImage } from '../shared/server-state.ts'
import { homeOf, type Context, type Outcome, type Ports, type Step } from '../shared/step.ts'

/**
 * The ladder when a clone is not possible. A full copy inside Ceph first: no byte leaves the cluster, and a rename commits it.
 * Below it the disk's snapshot is streamed to Glance's upload, with no local file. Each step down leaves its reason.
 *
 * The copy has a message of its own, after the one that clears the image's name: a clone left half made has no parent and the
 * right size, as a finished copy has, and would be taken for one.
 *
 * In a take-over Nova is on the slow road already, with the same image: our turn comes only when it has failed.
 */
export const fallback: Step<'fallback'> = async (run, ports, ctx) => {
  if (run.rung === 'upload') return upload(run, ports, ctx)
  if (run.rung === 'clear') return clear(run, ports, ctx)
  try {
    return await copy(run, ports, ctx)
  } catch (error) {
    if (!(error instanceof Failure) || error.kind !== 'divert') throw error
    const { wish, disk, consistency } = run
    const why = [...run.why, `${error.code}: ${error.words}`]
    return { is: 'done', next: { step: 'fallback', wish, disk, consistency, why, rung: 'upload' } }
  }
}

async function clear(run: MessageOf<'fallback'>, ports: Ports, ctx: Context): Promise<Outcome<'fallback'>> {
  const { wish, disk, consistency, why } = run
  if (!(await isOurTurn(run, ports, ctx))) return { is: 'waiting', inMs: 2_000 }
  await makeRoom(run, ports, ctx)
  return { is: 'done', next: { step: 'fallback', wish, disk, consistency, why, rung: 'copy' } }
}

async function copy(run: MessageOf<'fallback'>, ports: Ports, ctx: Context): Promise<Outcome<'fallback'>> {
  const { wish, disk, consistency, why } = run
  const volumes = homeOf(ports)
  const target = glanceVolume(wish, ctx.settings.glancePool)
  const progress = await volumes.ensureCopy(
    sourceSnap(wish, disk),
    temporaryCopy(wish, ctx.settings.glancePool),
    target,
    ctx.signal,
  )
  if (progress.is === 'running') return { is: 'waiting', inMs: 2_000, fraction: progress.fraction }
  const snap = { ...target, snap: glanceSnapName }
  await volumes.ensureSnapshot(snap, ctx.signal)
  await volumes.ensureProtected(snap, ctx.signal)
  return { is: 'done', next: { step: 'register', wish, disk, consistency, why, road: 'copy' } }
}

async function upload(run: MessageOf<'fallback'>, ports: Ports, ctx: Context): Promise<Outcome<'fallback'>> {
  const { wish, disk, consistency, why } = run
  const image = await ports.images.find(wish.image, ctx.signal)
  if (image?.status === 'saving') {
    if (isDeadUpload(image, ctx.clock.nowMs()) && !(await isNovaAtWork(run, ports, ctx)))
      throw new Failure(
        'UPLOAD_DIED',
        `image ${wish.image} is saving since ${new Date(image.updatedAtMs).toISOString()}.`,
      )
    return { is: 'waiting', inMs: 5_000 }
  }
  if (image?.status !== 'active') {
    if (!(await isOurTurn(run, ports, ctx))) return { is: 'waiting', inMs: 2_000 }
    await makeRoom(run, ports, ctx)
    await ensureRecord(wish, ports, ctx)
    await ports.images.setProperties(wish.image, { [properties.road]: 'upload' }, ctx.signal)
    const { uploadFormat } = ctx.settings
    if (uploadFormat !== 'raw') await ports.images.setDiskFormat(wish.image, uploadFormat, ctx.signal)
    const bytes = ports.reader.read(disk.cluster, sourceSnap(wish, disk), ctx.signal)
    const sent = await ports.images.upload(wish.image, bytes, ctx.signal)
    if (uploadFormat === 'raw' && sent.sizeBytes !== disk.sizeBytes) {
      throw new Failure(
        'ANSWER_UNREADABLE',
        `image ${wish.image} has ${sent.sizeBytes} bytes, its disk ${disk.sizeBytes}.`,
      )
    }
  } else if (image.properties[properties.run] !== wish.run) {
    throw new Failure('NAME_TAKEN', `image ${wish.image} is active and not ours.`)
  } else if (image.properties[properties.road] !== 'upload') {
    throw new Failure('NOVA_DID_IT', `image ${wish.image} is active, and not from our upload.`)
  } else if (diskBytesOf(image) !== disk.sizeBytes) {
    throw new Failure(
      'ANSWER_UNREADABLE',
      `image ${wish.image} has ${diskBytesOf(image)} bytes, its disk ${disk.sizeBytes}.`,
    )
  }
  const usableMs = elapsedMs(wish.requestedAtMs, ctx.clock.nowMs())
  return { is: 'done', next: { step: 'cleanup', wish, disk, consistency, why, road: 'upload', usableMs } }
}

/** In a take-over the upload may be Nova's, which may take hours. */
async function isNovaAtWork(
  { wish, sinceMs }: MessageOf<'fallback'>,
  { compute }: Ports,
  ctx: Context,
): Promise<boolean> {
  if (wish.trigger.is !== 'take-over') return false
  const server = await compute.find(wish.instance, ctx.signal)
  return mayWorkOnImage(server, sinceMs, ctx.clock.nowMs())
}

async function isOurTurn(run: MessageOf<'fallback'>, ports: Ports, ctx: Context): Promise<boolean> {
  const { wish } = run
  if (wish.trigger.is !== 'take-over') return true
  const isAtWork = await isNovaAtWork(run, ports, ctx)
  // Read after the server: Nova makes the image active before it clears the task state.
  const image = await ports.images.find(wish.image, ctx.signal)
  if (!image) throw new Failure('IMAGE_GONE', `image ${wish.image}`)
  if (image.status === 'active') throw new Failure('NOVA_DID_IT', `image ${wish.image} is active.`)
  return image.status === 'queued' && !isAtWork
}

/** Copy and upload make the volume under the image's id anew: what an earlier step left there goes first, if it is ours. */
async function makeRoom(run: MessageOf<'fallback'>, ports: Ports, ctx: Context): Promise<void> {
  const { wish } = run
  const volumes = homeOf(ports)
  const volume = glanceVolume(wish, ctx.settings.glancePool)
  await volumes.ensureAbsent(temporaryCopy(wish, ctx.settings.glancePool), [], ctx.signal)
  const state = await volumes.find(volume, ctx.signal)
  // A clone that does not open reads as absent (Ceph 16.2); in a take-over the name may be Nova's.
  if (!state && wish.trigger.is === 'take-over') return
  if (state && !(await isOurVolume(run, state, ports, ctx)))
    throw new Failure('NAME_TAKEN', `${show(volume)} is in the way of the upload.`)
  await volumes.ensureAbsent(volume, [glanceSnapName], ctx.signal)
}

export const handler = lambda('fallback', fallback)
