import { createHash } from 'node:crypto'
import type { RbdImage, RbdSnap } from './ports/volumes.ts'
import type { Disk, Wish } from './run.ts'

/**
 * Names are the idempotency keys: everything that a run makes is named from the run, and exclusive creation in Ceph and
 * Glance is the lock, also against Nova. The clone bears the Glance image's id because that is Nova's and glance_store's
 * own convention (nova/virt/libvirt/imagebackend.py direct_snapshot, glance_store/_drivers/rbd.py).
 */
const namespace = '5a3f1d0e-9c6b-5e0a-8f51-6e6f76612d72'

/** RFC 9562 UUIDv5 of a name in our own namespace. */
export function uuidv5(name: string): string {
  const hash = createHash('sha1')
    .update(Buffer.from(namespace.replaceAll('-', ''), 'hex'))
    .update(name)
    .digest()
  hash[6] = ((hash[6] ?? 0) & 0x0f) | 0x50
  hash[8] = ((hash[8] ?? 0) & 0x3f) | 0x80
  const hex = hash.toString('hex')
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20, 32)].join('-')
}

/** One wish, one run: the epoch tells a tag that was set again, after it was served, from the same tag seen twice. */
export function tagRun(instance: string, tag: string, epoch: number): string {
  return uuidv5(`${instance}/tag/${tag}/${epoch}`)
}

/** In a take-over the wish is Nova's image. */
export function takeOverRun(image: string): string {
  return uuidv5(`take-over/${image}`)
}

/** A policy's event is one wish: the time is Nova's, of the notification. */
export function policyRun(instance: string, action: string, atMs: number): string {
  return uuidv5(`${instance}/policy/${action}/${atMs}`)
}

/** What stands in the journal for a wish that came in another project's name. */
export function refusedRun(run: string, project: string): string {
  return uuidv5(`${run}/refused/${project}`)
}

/** A Glance id that was ever deleted cannot be used again, so each attempt at a run has its own. */
export function imageOf(run: string, attempt: number): string {
  return uuidv5(`${run}/image/${attempt}`)
}

/** The ids that a run's own image may have, the likely one first. */
export function imagesOf(run: string): string[] {
  return [1, 2, 3].map((attempt) => imageOf(run, attempt))
}

export function novaDisk(pool: string, instance: string): RbdImage {
  return { pool, image: `${instance}_disk` }
}

export function sourceSnap(wish: Wish, disk: Pick<Disk, 'pool' | 'image'>): RbdSnap {
  return { pool: disk.pool, image: disk.image, snap: `rbdsnap-${wish.run}` }
}

export function glanceVolume(wish: Wish, glancePool: string): RbdImage {
  return { pool: glancePool, image: wish.image }
}

/** glance_store looks for exactly this snapshot (DEFAULT_SNAPNAME). */
export const glanceSnapName = 'snap'

export function temporaryCopy(wish: Wish, glancePool: string): RbdImage {
  return { pool: glancePool, image: `rbdsnap-${wish.run}-copy` }
}

/** Each part URL-quoted, as glance_store reads it. */
export function locationUrl(fsid: string, volume: RbdImage): string {
  return `rbd://${[fsid, volume.pool, volume.image, glanceSnapName].map(encodeURIComponent).join('/')}`
}

export function show(thing: RbdImage | RbdSnap): string {
  return 'snap' in thing ? `${thing.pool}/${thing.image}@${thing.snap}` : `${thing.pool}/${thing.image}`
}

/** Glance takes 255 characters, and its database none beyond the basic plane (glance/common/utils.py no_4byte_params). */
const longestName = 255
export function glanceText(wanted: string): string {
  return wanted.replace(/[\ud800-\udfff]+/g, '\ufffd').slice(0, longestName)
}

/** Control characters (a newline in a server's name) would break every table that shows it. */
export function imageName(wanted: string): string {
  // eslint-disable-next-line no-control-regex -- control characters are what is removed
  const clean = wanted.replace(/[\u0000-\u001f\u007f-\u009f\u2028\u2029]+/g, ' ').trim()
  return glanceText(clean) || 'snapshot'
}

/** The name of an image that was given none: of its server, with what tells it from the others at the end, which is never cut off. */
export function nameAfter(server: string, ...more: string[]): string {
  const end = ['', ...more].join('-')
  return imageName(server.slice(0, longestName - end.length) + end)
}

/** A colon is a separator to too many who read names. */
export function timeInName(ms: number): string {
  return new Date(ms).toISOString().slice(0, 19).replaceAll(':', '')
}

export const propertyPrefix = 'rbdsnap_'

/** The properties that say on the image what was done; Horizon's users look there. */
export const properties = {
  run: 'rbdsnap_run',
  consistency: 'rbdsnap_consistency',
  consistencyReason: 'rbdsnap_consistency_reason',
  frozenMs: 'rbdsnap_frozen_ms',
  usableMs: 'rbdsnap_usable_ms',
  road: 'rbdsnap_road',
  reason: 'rbdsnap_reason',
  /** the action whose policy made it, for people: what is kept goes by the journal (shared/outdated.ts) */
  policy: 'rbdsnap_policy',
  /** the image's owner had protected it before we came: it stays protected */
  ownerProtected: 'rbdsnap_owner_protected',
} as const
