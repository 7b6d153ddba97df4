import { dropAbandonedDisk, mayStillBeRemoved } from '../shared/abandoned-disk.ts'
import { verdictProperties } from '../shared/image-record.ts'
import { lambda } from '../shared/lambda.ts'
import { properties, sourceSnap } from '../shared/names.ts'
import { takeTagOff } from '../shared/request-tag.ts'
import { retain } from '../shared/retention.ts'
import { clusterOf, endedWell, type Step } from '../shared/step.ts'
import { mayWorkOnImage } from '../shared/server-state.ts'

/**
 * Drops the source snapshot, writes verdict and timings on the image, and answers whoever asked. What a policy no longer keeps goes
 * last, in messages of its own.
 */
export const cleanup: Step<'cleanup'> = async (run, ports, ctx) => {
  const { wish, disk, consistency, road, usableMs, why } = run
  if (run.older) return retain(run, run.older, ports, ctx)
  await clusterOf(disk, ports).ensureSnapshotAbsent(sourceSnap(wish, disk), ctx.signal)
  const server = await ports.compute.find(wish.instance, ctx.signal)
  const image = await ports.images.find(wish.image, ctx.signal)
  if (image?.properties[properties.run] === wish.run) {
    await ports.images.setProperties(wish.image, verdictProperties(consistency, { road, usableMs, why }), ctx.signal)
    // Nova's own attempt may still fail, and would then delete the image; being protected it stays.
    if (wish.trigger.is === 'take-over') {
      if (mayWorkOnImage(server, run.sinceMs, ctx.clock.nowMs()))
        return { is: 'waiting', inMs: server ? 2_000 : 30_000 }
      if (image.properties[properties.ownerProtected] !== 'true')
        await ports.images.setProtected(wish.image, false, ctx.signal)
    }
  }
  if ((await takeTagOff(wish, server, ports, ctx)) === 'later') return { is: 'waiting', inMs: 30_000 }
  if (mayStillBeRemoved(server, run.sinceMs, ctx.clock.nowMs())) return { is: 'waiting', inMs: 5_000 }
  const leftover = server ? null : await dropAbandonedDisk(disk, ports, ctx)
  const reasons = [
    ...why,
    ...(leftover === null ? [] : [leftover]),
    ...(image ? [] : ['the image was deleted by its owner since']),
  ]
  const cleaned = { ...run, why: reasons }
  if (wish.trigger.is !== 'policy') return endedWell(cleaned)
  return { is: 'done', next: { ...cleaned, older: { done: [], next: null } } }
}

export const handler = lambda('cleanup', cleanup)
