import { elapsedMs } from '../shared/elapsed.ts'
import { Failure } from '../shared/failures.ts'
import { ensureRecord } from '../shared/image-record.ts'
import { lambda } from '../shared/lambda.ts'
import { glanceSnapName, glanceVolume, locationUrl, properties, show } from '../shared/names.ts'
import type { RbdImage, Volumes } from '../shared/ports/volumes.ts'
import { homeOf, type Context, type Step } from '../shared/step.ts'

/** The location on Glance's record, active, read back. The volume is looked at once more before anyone hears of it. */
export const register: Step<'register'> = async (run, ports, ctx) => {
  const { wish, disk, consistency, why, road } = run
  const volumes = homeOf(ports)
  const volume = glanceVolume(wish, ctx.settings.glancePool)
  const [fsid, wrong] = await Promise.all([
    volumes.fsid(ctx.signal),
    whatIsWrong(volumes, volume, disk.sizeBytes, ctx),
    // Its owner may have deleted the image since an earlier try, and the volume with it: then it says IMAGE_GONE.
    ensureRecord(wish, ports, ctx),
  ])
  if (wrong) throw wrong
  // A copy has no parent that would tell it from Nova's own image, should the answer of the next call be lost.
  if (road === 'copy') await ports.images.setProperties(wish.image, { [properties.road]: road }, ctx.signal)
  await ports.images.ensureLocation(wish.image, locationUrl(fsid, volume), disk.sizeBytes, ctx.signal)
  const usableMs = elapsedMs(wish.requestedAtMs, ctx.clock.nowMs())
  return { is: 'done', next: { step: 'flatten', wish, disk, consistency, why, road, usableMs } }
}

async function whatIsWrong(
  volumes: Volumes,
  volume: RbdImage,
  sizeBytes: number,
  ctx: Context,
): Promise<Failure | null> {
  const state = await volumes.find(volume, ctx.signal)
  const isWhole = state?.sizeBytes === sizeBytes && state.snaps.some((s) => s.name === glanceSnapName && s.isProtected)
  if (isWhole) return null
  const words = `is no longer what was made: expected ${sizeBytes} bytes and a protected ${glanceSnapName}.`
  return new Failure('NAME_TAKEN', `${show(volume)} ${words}`)
}

export const handler = lambda('register', register)
