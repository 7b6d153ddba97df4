import { Failure } from './failures.ts'
import { glanceSnapName, glanceVolume, locationUrl, properties } from './names.ts'
import type { Made } from './outdated.ts'
import type { Image } from './ports/images.ts'
import type { Wish } from './run.ts'
import { homeOf, type Context, type Ports } from './step.ts'

/** What speaks against removing an image. */
interface Need {
  why: string
  /** so looks an image, too, whose data Glance is deleting */
  isHalfGone: boolean
}

/** Asks all who may need it, and takes what nobody says for a need; null: nothing speaks against it. */
export async function whatNeeds({ image, wish }: Made, ports: Ports, ctx: Context): Promise<Need | null> {
  const kept = whatKeeps(image, wish)
  if (kept) return kept
  try {
    const hanging = await whatHangsOnIt(image, wish, ports, ctx)
    if (hanging) return hanging
    // Of a server whose disk is no clone Ceph knows nothing, and Nova fetches the image again for a rebuild, a rescue, another host.
    const isUsed = await ports.compute.usesImage(image.id, ctx.signal)
    return isUsed ? need('it is in use: a server was made from it') : null
  } catch (error) {
    // One image that cannot be looked at is kept, and the others are looked at all the same.
    if (!(error instanceof Failure) || (error.kind === 'retry' && error.code !== 'CEPH_BUSY')) throw error
    return { why: error.message, isHalfGone: error.code === 'CEPH_BUSY' }
  }
}

const need = (why: string): Need => ({ why, isHalfGone: false })
const halfGone = (why: string): Need => ({ why, isHalfGone: true })

/** What Glance says of it. */
export function whatKeeps(image: Image, { run, project }: Wish): Need | null {
  if (image.properties[properties.run] !== run) return need(`it does not bear the mark of run ${run}`)
  if (image.owner !== project) return need(`it belongs to project ${image.owner}`)
  if (image.status !== 'active') return need(`it is ${image.status}`)
  if (image.isProtected) return need('it is protected')
  // Its owner may have added the data of another image (OSSN-0065); Glance deletes whatever an image's locations name.
  if (image.locations.length > 1 || image.stores.length > 1) return need('it has more than one location')
  return image.isPrivate ? null : need('its owner shares it with others')
}

/**
 * Glance is no second guard. Up to glance_store 4.5 it answers 409 where something hangs on the data, but takes `snap` off first when
 * that is another snapshot; from 4.6 on it moves the data to the trash below its clones and answers 204 (_drivers/rbd.py _delete_image).
 */
async function whatHangsOnIt(image: Image, wish: Wish, ports: Ports, ctx: Context): Promise<Need | null> {
  const home = homeOf(ports)
  const volume = glanceVolume(wish, ctx.settings.glancePool)
  const [location] = image.locations
  if (location !== undefined && location !== locationUrl(await home.fsid(ctx.signal), volume))
    return need('its location is not where its run has put it')
  const state = await home.find(volume, ctx.signal)
  if (!state) return halfGone('Ceph does not show its data')
  if (state.parent) return need('it hangs on a snapshot still')
  if (state.hasUnlistedSnaps) return need("a group's snapshot, or clones of one that was removed, hang on its data")
  const [snap, ...others] = state.snaps
  if (!snap) return halfGone('the snapshot on its data, which servers are booted from, is gone')
  if (snap.name !== glanceSnapName || others.length > 0) return need('somebody has a snapshot on its data')
  if (snap.isUsed === null) return need('Ceph does not say whether there are clones of it')
  return snap.isUsed ? need('it is in use: there are clones of it') : null
}
