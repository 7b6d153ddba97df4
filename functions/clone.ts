import { Failure } from '../shared/failures.ts'
import { ensureRecord } from '../shared/image-record.ts'
import { lambda } from '../shared/lambda.ts'
import { glanceSnapName, glanceVolume, show, sourceSnap } from '../shared/names.ts'
import type { MessageOf } from '../shared/run.ts'
import { homeCluster, homeOf, type Context, type Outcome, type Ports, type Step } from '../shared/step.ts'
import { mayWorkOnImage } from '../shared/server-state.ts'

/**
 * A clone in Glance's pool under the image's id, believed only after it was verified, with the protected snapshot `snap` that
 * Glance and Nova clone from. That one waits for the monitors, up to a second after they gave the source its own
 * (paxos_propose_interval); Glance's record is made meanwhile.
 */
export const clone: Step<'clone'> = async (run, ports, ctx) => {
  const { wish, disk, consistency, why } = run
  if (disk.cluster !== homeCluster) {
    throw new Failure('OTHER_CLUSTER', `${disk.pool}/${disk.image} is in the cluster ${disk.cluster}.`)
  }
  const volumes = homeOf(ports)
  const source = sourceSnap(wish, disk)
  const child = glanceVolume(wish, ctx.settings.glancePool)
  await volumes.ensureProtected(source, ctx.signal)
  const state = await volumes.ensureClone(source, child, ctx.signal)
  if (state === 'running') return { is: 'waiting', inMs: 1_000 }
  if (state !== 'verified' && wish.trigger.is === 'take-over') {
    const held = await afterNova(run, state, ports, ctx)
    if (held) return held
  }
  if (state === 'foreign') throw new Failure('NAME_TAKEN', `${show(child)} is a clone of something else.`)
  if (state === 'half-made') {
    await volumes.ensureAbsent(child, [glanceSnapName], ctx.signal)
    throw new Failure('CLONE_HALF_MADE', `${show(child)} was there without being a clone of ${show(source)}.`)
  }
  const made = await Promise.allSettled([protectedSnap(), ensureRecord(wish, ports, ctx)])
  for (const one of made) if (one.status === 'rejected') throw one.reason
  return { is: 'done', next: { step: 'register', wish, disk, consistency, why, road: 'clone' } }

  async function protectedSnap(): Promise<void> {
    const snap = { ...child, snap: glanceSnapName }
    await volumes.ensureSnapshot(snap, ctx.signal)
    await volumes.ensureProtected(snap, ctx.signal)
  }
}

/**
 * In a take-over the name may be Nova's: its direct snapshot clones to the same name. While Nova is at work, or has finished,
 * nothing there is ours. When its attempt is over and the image is still queued, Nova failed: on with our snapshot.
 */
async function afterNova(
  { wish, sinceMs }: MessageOf<'clone'>,
  state: 'half-made' | 'foreign',
  ports: Ports,
  ctx: Context,
): Promise<Outcome<'clone'> | null> {
  const server = await ports.compute.find(wish.instance, ctx.signal)
  // Read after the server: Nova makes the image active before it clears the task state.
  const image = await ports.images.find(wish.image, ctx.signal)
  if (!image) throw new Failure('IMAGE_GONE', `image ${wish.image}`)
  if (image.status === 'active') throw new Failure('NOVA_DID_IT', `image ${wish.image} is active.`)
  if (mayWorkOnImage(server, sinceMs, ctx.clock.nowMs())) return { is: 'waiting', inMs: server ? 1_000 : 30_000 }
  if (state !== 'foreign') return null
  // Nova removes its clone when it gives up, perhaps only since we looked.
  if (!(await homeOf(ports).find(glanceVolume(wish, ctx.settings.glancePool), ctx.signal)))
    return { is: 'waiting', inMs: 1_000 }
  throw new Failure('NAME_TAKEN', `Nova's attempt is over and left a clone named ${wish.image} behind.`)
}

export const handler = lambda('clone', clone)
