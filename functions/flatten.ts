import { Failure } from '../shared/failures.ts'
import { lambda } from '../shared/lambda.ts'
import { glanceVolume } from '../shared/names.ts'
import type { Progress } from '../shared/ports/volumes.ts'
import type { Wish } from '../shared/run.ts'
import { removesDisk } from '../shared/server-state.ts'
import { homeOf, type Context, type Ports, type Step } from '../shared/step.ts'

/**
 * Cuts the clone from its parent, in the background, so many at a time in the whole cluster. The places are leases, so a
 * flatten whose function died gives its place back. An instance whose disk Nova wants to remove does not wait for a place:
 * Nova gives the disk up after 12 tries of 5 s (nova/conf/libvirt.py rbd_destroy_volume_retries), and what it left behind is in
 * the way when the instance lives on and gets a disk of that name again.
 */
export const flatten: Step<'flatten'> = async (run, ports, ctx) => {
  const { wish, disk, consistency, why, road, usableMs } = run
  const next = { step: 'cleanup' as const, wish, disk, consistency, why, road, usableMs }
  const hasPlace = await takePlace(wish.run, ports, ctx)
  if (!hasPlace && !(await isDiskGoing(wish.instance, ports, ctx))) {
    return { is: 'waiting', inMs: pauseMs(ctx.clock.nowMs() - run.sinceMs) }
  }
  const progress = await flattenOf(wish, ports, ctx)
  if (progress.is === 'running') return { is: 'waiting', inMs: pollMs, fraction: progress.fraction }
  await givePlaceBack(wish.run, ports, ctx)
  return { is: 'done', next }
}

async function flattenOf(wish: Wish, ports: Ports, ctx: Context): Promise<Progress> {
  try {
    return await homeOf(ports).flatten(glanceVolume(wish, ctx.settings.glancePool), ctx.signal)
  } catch (error) {
    if (!(error instanceof Failure) || error.code !== 'IMAGE_GONE') throw error
    // Its owner deleted the image: Glance deletes the volume first and the record after it (glance/location.py ImageProxy.delete).
    if (!(await ports.images.find(wish.image, ctx.signal))) return { is: 'done' }
    throw new Failure('IMAGE_GOING', `image ${wish.image} is there, and its volume is not: ${error.words}`)
  }
}

const pollMs = 2_000
const placeMs = 60_000

/** Who has waited long waits a little longer: hundreds of runs behind a few places would otherwise do nothing but ask. */
function pauseMs(waitedMs: number): number {
  return Math.min(30_000, Math.max(pollMs, Math.round(waitedMs / 4)))
}

function places(ctx: Context): string[] {
  return Array.from({ length: ctx.settings.flattensAtOnce }, (_, i) => `flatten/${i}`)
}

async function takePlace(run: string, ports: Ports, ctx: Context): Promise<boolean> {
  const now = ctx.clock.nowMs()
  const held = await Promise.all(places(ctx).map((key) => ports.leases.find(key)))
  const own = held.find((lease) => lease?.holder === run)
  for (const key of own ? [own.key] : places(ctx)) {
    if (await ports.leases.take(key, run, now, now + placeMs)) return true
  }
  return false
}

async function givePlaceBack(run: string, ports: Ports, ctx: Context): Promise<void> {
  for (const key of places(ctx)) {
    const lease = await ports.leases.find(key)
    if (lease?.holder === run) await ports.leases.save({ ...lease, holder: null })
  }
}

async function isDiskGoing(instance: string, ports: Ports, ctx: Context): Promise<boolean> {
  const server = await ports.compute.find(instance, ctx.signal)
  return server === null || removesDisk(server)
}

export const handler = lambda('flatten', flatten)
