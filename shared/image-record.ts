import { Failure } from './failures.ts'
import { glanceText, properties } from './names.ts'
import type { Image, ImageRecord } from './ports/images.ts'
import type { Server } from './ports/compute.ts'
import type { Consistency, Wish } from './run.ts'
import type { Context, Ports } from './step.ts'

/**
 * Nova's default non_inheritable_image_properties and those that describe the base image's own bytes or upload
 * (nova/conf/compute.py, nova/utils.py get_system_metadata_from_image).
 */
const notInherited = [
  /^cache_in_nova$/,
  /^bittorrent$/,
  /^img_signature/,
  /^image_(location|state|type)$/,
  /^(instance_uuid|user_id|base_image_ref|owner_user_name|owner_project_name|boot_roles|clean_attempts)$/,
  /^os_glance_/,
  /^os_hash_/,
  /^owner_specified\./,
  /^rbdsnap_/,
  /^(direct_url|stores|locations|self|file|schema|tags)$/,
]

/** What Nova would have written on a snapshot's record, and whose run it is. */
export function recordOf(wish: Wish, server: Server, base: Image | null): ImageRecord {
  const inherited = Object.entries(base?.properties ?? {}).filter(([name]) => !notInherited.some((p) => p.test(name)))
  return {
    id: wish.image,
    name: wish.imageName,
    owner: wish.project,
    minDiskGib: server.rootGib,
    properties: {
      ...Object.fromEntries(inherited),
      image_type: 'snapshot',
      instance_uuid: wish.instance,
      user_id: server.user,
      ...(server.baseImage === null ? {} : { base_image_ref: server.baseImage }),
      [properties.run]: wish.run,
      ...(wish.trigger.is === 'policy' ? { [properties.policy]: wish.trigger.action } : {}),
    },
  }
}

/** What the image says of how it was made. Horizon shows these, so the reason is in words. */
export function verdictProperties(
  consistency: Consistency,
  made: { road: string; usableMs: number; why: string[] },
): Record<string, string> {
  return {
    [properties.consistency]: consistency.verdict,
    [properties.consistencyReason]: glanceText(consistency.why),
    ...(consistency.frozenMs === null ? {} : { [properties.frozenMs]: String(Math.round(consistency.frozenMs)) }),
    [properties.usableMs]: String(Math.round(made.usableMs)),
    [properties.road]: made.road,
    ...(made.why.length === 0 ? {} : { [properties.reason]: glanceText(made.why.join('; ')) }),
  }
}

/** Of the disk in it, whatever its format: `size` is that of Glance's file. */
export const diskBytesOf = (image: Image): number | null => image.virtualSizeBytes ?? image.sizeBytes

/** Whoever knows server, tag and count can reckon its id, and occupy it in a project of his own. */
export const isRecordOf = ({ run, project }: Wish, { owner, properties: p }: Image): boolean =>
  owner === project && p[properties.run] === run

/**
 * The record that a location or an upload needs: our own for a tag, Nova's, claimed since `ingest`, in a take-over. Each step that
 * needs it asks for it; only the first finds none.
 */
export async function ensureRecord(wish: Wish, ports: Pick<Ports, 'compute' | 'images'>, ctx: Context): Promise<void> {
  if (wish.trigger.is === 'take-over') return
  const there = await ports.images.find(wish.image, ctx.signal)
  if (there && isRecordOf(wish, there)) return
  const server = await ports.compute.find(wish.instance, ctx.signal)
  if (!server)
    throw new Failure('INSTANCE_GONE', `instance ${wish.instance} was deleted before its image was registered.`)
  const base = server.baseImage === null ? null : await ports.images.find(server.baseImage, ctx.signal)
  await ports.images.ensureQueued(recordOf(wish, server, base), ctx.signal)
}
