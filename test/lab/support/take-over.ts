import { randomInt } from 'node:crypto'
import { expect } from 'vitest'
import { evidenceOf } from '../../../infra/lab/guest.ts'
import type { Image } from './images.ts'
import type { Story } from './story.ts'

/**
 * From none to longer than Nova needs for its direct snapshot: whatever can overtake whatever does. RBDSNAP_STORY_DELAYS=2 is for whoever
 * cannot wait for all ten: one of each half, another one each time.
 */
const allDelaysMs = Array.from({ length: 10 }, (_, nth) => nth * 400)
export const delaysMs = oneOfEach(Number(process.env['RBDSNAP_STORY_DELAYS'] ?? allDelaysMs.length))

function oneOfEach(parts: number): number[] {
  if (!(parts >= 1 && parts <= allDelaysMs.length))
    throw new Error('RBDSNAP_STORY_DELAYS: must be a number from 1 to 10')
  const from = (part: number) => Math.floor((part * allDelaysMs.length) / parts)
  return Array.from({ length: parts }, (_, part) => allDelaysMs[randomInt(from(part), from(part + 1))]!)
}

/** A whole snapshot, so that every function has been called once, as on a cloud that is in use. */
export async function warmUp({ servers, images, engine }: Story, server: string): Promise<void> {
  await servers.setTag(server, 'snapshot:first')
  const { id } = await images.untilNamedActive('first')
  await engine.untilEnded(id)
  await images.delete(id)
}

/**
 * Active, at one place, not protected, cut from its parent, and with the guest's own data in it. After an upload the place may be listed twice: Glance
 * (Zed) adds it to the one that a PATCH left on the queued image, without a look at what is there, and deletes such an image without harm.
 */
export async function wholeImage({ lab, ceph, admin, tenant }: Story, id: string): Promise<Image> {
  const image = await admin.images.show(id)
  expect(image).toMatchObject({ status: 'active', protected: false, owner: tenant.projectId })
  const places = (image.locations ?? []).map(({ url }) => url)
  expect(image['rbdsnap_road'] === 'upload' ? [...new Set(places)] : places).toHaveLength(1)
  const { images: pool } = lab.ceph.pools
  const volume = await ceph.find(pool, id)
  expect(volume).toMatchObject({ sizeBytes: image.size, parent: null, snaps: [{ name: 'snap', isProtected: true }] })
  expect((await evidenceOf(`${pool}/${id}@snap`, lab.ceph.conf)).synced).toBeGreaterThan(0)
  return image
}

export function ours(image: Image): string[] {
  return Object.keys(image).filter((name) => name.startsWith('rbdsnap_'))
}
