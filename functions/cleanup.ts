import { dropAbandonedDisk, mayStillBeRemoved } from '../shared/abandoned-disk.ts'
import { verdictProperties } from '../shared/image-record.ts'
import { lambda } from '../shared/lambda.ts'
import { properties, sourceSnap } from '../shared/names.ts'
import { takeTagOff } from '../shared/request-tag.ts'
import { findOutdated, removeOutdated } from '../shared/retention.ts'
import type { MessageOf } from '../shared/run.ts'
import { clusterOf, type Ended, type Step } from '../shared/step.ts'
import { mayWorkOnImage } from '../shared/server-state.ts'

/**
 * Drops the source snapshot, writes verdict and timings on the image, and answers whoever asked. What a policy no longer keeps goes
 * last, in a message of its own that names it: a removal cannot be undone, so it is noted before it is made.
 */
export const cleanup: Step<'cleanup'> = async (run, ports, ctx) => {
  const { wish, disk, consistency, road, usableMs, why } = run
  if (run.outdated) return end(road, [...why, ...(await removeOutdated(run.outdated, wish, ports, ctx))])
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
  const { outdated, kept } = await findOutdated(wish, server, ports, ctx)
  if (outdated.length === 0) return end(road, [...reasons, ...kept])
  const next = { step: 'cleanup' as const, wish, disk, consistency, road, usableMs, why: reasons, outdated }
  return { is: 'done', next }
}

function end(road: MessageOf<'cleanup'>['road'], reasons: string[]): Ended {
  const outcome = road === 'clone' ? 'active' : 'fallback'
  return { is: 'ended', outcome, failure: null, reason: reasons.length === 0 ? null : reasons.join('; ') }
}

export const handler = lambda('cleanup', cleanup)
