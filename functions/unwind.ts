import { lambda } from '../shared/lambda.ts'
import { glanceVolume, locationUrl, properties } from '../shared/names.ts'
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
  if (wish.trigger.is === 'tag' && server?.project === wish.project) {
    await ports.compute.ensureTagAbsent(wish.instance, wish.trigger.tag, ctx.signal)
  }
  return {
    is: 'ended',
    outcome: because.code === 'NOVA_DID_IT' ? 'nova-did-it' : 'rejected',
    failure: because,
    reason: null,
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
  // Glance knows the checksum of what was uploaded to it, and of nothing else.
  const isUpload = run.undos.includes('dropCopy') && image.checksum !== null && image.sizeBytes === disk.sizeBytes
  if (!image.locations.includes(url) && !isUpload) return null
  const state = await volumes.find(volume, ctx.signal)
  if (!run.undos.includes('dropCopy') && state?.parent?.snap !== `rbdsnap-${wish.run}`) return null
  const road = state?.parent ? 'clone' : isUpload ? 'upload' : 'copy'
  return { step: 'flatten', wish, disk, consistency, why, road, usableMs: ctx.clock.nowMs() - wish.requestedAtMs }
}

export const handler = lambda('unwind', unwind)
