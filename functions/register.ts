import { Failure } from '../shared/failures.ts'
import { ensureRecord } from '../shared/image-record.ts'
import { lambda } from '../shared/lambda.ts'
import { glanceSnapName, glanceVolume, locationUrl, properties, show } from '../shared/names.ts'
import type { RbdImage, Volumes } from '../shared/ports/volumes.ts'
import { homeOf, type Context, type Step } from '../shared/step.ts'

/** Glance's record, its location, active, read back. The volume is looked at once more before anyone hears of it. */
export const register: Step<'register'> = async (run, ports, ctx) => {
  const { wish, disk, consistency, why, road } = run
  const volumes = homeOf(ports)
  const volume = glanceVolume(wish, ctx.settings.glancePool)
  const [fsid] = await Promise.all([
    volumes.fsid(ctx.signal),
    mustBeWhole(volumes, volume, disk.sizeBytes, ctx),
    ensureRecord(wish, ports, ctx),
  ])
  // A copy has no parent that would tell it from Nova's own image, should the answer of the next call be lost.
  if (road === 'copy') await ports.images.setProperties(wish.image, { [properties.road]: road }, ctx.signal)
  await ports.images.ensureLocation(wish.image, locationUrl(fsid, volume), disk.sizeBytes, ctx.signal)
  const usableMs = ctx.clock.nowMs() - wish.requestedAtMs
  return { is: 'done', next: { step: 'flatten', wish, disk, consistency, why, road, usableMs } }
}

async function mustBeWhole(volumes: Volumes, volume: RbdImage, sizeBytes: number, ctx: Context): Promise<void> {
  const state = await volumes.find(volume, ctx.signal)
  const isWhole = state?.sizeBytes === sizeBytes && state.snaps.some((s) => s.name === glanceSnapName && s.isProtected)
  if (!isWhole)
    throw new Failure(
      'NAME_TAKEN',
      `${show(volume)} is no longer what was made: expected ${sizeBytes} bytes and a protected ${glanceSnapName}.`,
    )
}

export const handler = lambda('register', register)
