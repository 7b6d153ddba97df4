import { dropAbandonedDisk, mayStillBeRemoved } from '../shared/abandoned-disk.ts'
import { elapsedMs } from '../shared/elapsed.ts'
import { diskBytesOf } from '../shared/image-record.ts'
import { lambda } from '../shared/lambda.ts'
import { glanceVolume, locationUrl, properties, sourceSnap } from '../shared/names.ts'
import { takeTagOff } from '../shared/request-tag.ts'
import type { Draft, MessageOf } from '../shared/run.ts'
import { homeOf, type Context, type Ports, type Step } from '../shared/step.ts'
import { undos } from '../shared/undo.ts'

/**
 * Runs the noted undos in reverse, then answers whoever asked. Before that it looks whether there is anything to undo: a
 * location whose answer was lost may have made the image active, and an active image goes forward, never back.
 */
export const unwind: Step<'unwind'> = async (run, ports, ctx) => {
  const forward = await goForward(run, ports, ctx)
  if (forward) return { is: 'done', next: forward }
  const isLong = ctx.clock.nowMs() - run.sinceMs > 60_000
  for (const name of run.undos.toReversed()) {
    if ((await undos[name](run, ports, ctx)) === 'later') return { is: 'waiting', inMs: isLong ? 30_000 : 2_000 }
  }
  const { wish, because } = run
  const server = await ports.compute.find(wish.instance, ctx.signal)
  if ((await takeTagOff(wish, server, ports, ctx)) === 'later') return { is: 'waiting', inMs: 30_000 }
  if (mayStillBeRemoved(server, run.sinceMs, ctx.clock.nowMs())) return { is: 'waiting', inMs: 5_000 }
  const leftover = server || !run.disk ? null : await dropAbandonedDisk(run.disk, ports, ctx)
  return {
    is: 'ended',
    outcome: because.code === 'NOVA_DID_IT' ? 'nova-did-it' : 'rejected',
    failure: because,
    reason: leftover === null ? null : `${because.words}; ${leftover}`,
  }
}

async function goForward(run: MessageOf<'unwind'>, ports: Ports, ctx: Context): Promise<Draft<'flatten'> | null> {
  const { wish, disk, consistency, why, because } = run
  // What is active then is Nova's, at the same location as ours would be.
  if (!disk || !consistency || because.code === 'NOVA_DID_IT') return null
  const image = await ports.images.find(wish.image, ctx.signal)
  if (image?.status !== 'active' || image.properties[properties.run] !== wish.run) return null
  const volumes = homeOf(ports)
  const volume = glanceVolume(wish, ctx.settings.glancePool)
  const url = locationUrl(await volumes.fsid(ctx.signal), volume)
  const state = await volumes.find(volume, ctx.signal)
  const road = state?.parent?.snap === sourceSnap(wish, disk).snap ? 'clone' : image.properties[properties.road]
  // In a take-over Nova's own image is at the same location, without a parent: only what was noted on it tells ours from it.
  if (road !== 'clone' && road !== 'copy' && road !== 'upload') return null
  const isElsewhere = image.locations.length > 0 && !image.locations.includes(url)
  if (isElsewhere || diskBytesOf(image) !== disk.sizeBytes) return null
  return {
    step: 'flatten',
    wish,
    disk,
    consistency,
    why,
    road,
    usableMs: elapsedMs(wish.requestedAtMs, ctx.clock.nowMs()),
  }
}

export const handler = lambda('unwind', unwind)
