import { rmSync } from 'node:fs'
import { join } from 'node:path'
import { guestWrites } from './console.ts'
import { download } from './rest.ts'
import type { Story } from './story.ts'

/** Nova's root disks as operators have them; each with a guest that has begun to write. */

/** Nova clones the image's volume: the disk has a parent, and Nova's own snapshot can go direct. */
export async function bootOnClone(story: Story, name: string, flavor?: string): Promise<string> {
  // Nova clones no image that it once had to fetch, as from a Glance that was away: it takes its own copy for ever after.
  rmSync(join(story.lab.folder, 'nova', 'instances', '_base'), { recursive: true, force: true })
  return bootGuest(story, name, story.lab.images.agent, flavor)
}

/**
 * Flat, and the image that it came from is gone: Nova cannot tell Glance's pool any more, so that its own snapshot takes the
 * long way (nova/virt/libvirt/imagebackend.py _get_parent_pool).
 */
export async function bootOnOrphanedFlatDisk(story: Story, name: string, flavor?: string): Promise<string> {
  const base = await privateCopyOf(story, story.lab.images.agent, `${name}-base`)
  const server = await bootGuest(story, name, base, flavor)
  await story.ceph.rbd('flatten', '--no-progress', `${story.lab.ceph.pools.disks}/${server}_disk`)
  await story.images.delete(base)
  return server
}

/** Flat, its image still there: as `unshelve` leaves it. */
export async function bootOnFlatDisk(story: Story, name: string): Promise<string> {
  const server = await bootGuest(story, name, story.lab.images.agent)
  await story.ceph.rbd('flatten', '--no-progress', `${story.lab.ceph.pools.disks}/${server}_disk`)
  return server
}

async function bootGuest(story: Story, name: string, image: string, flavor?: string): Promise<string> {
  const server = await story.boot(name, image, flavor)
  await story.servers.untilConsoleSays(server, guestWrites)
  return server
}

/** The tenant's own image with the same bytes. */
export async function privateCopyOf(story: Story, image: string, name: string): Promise<string> {
  const { lab, tenant, images } = story
  const original = await images.show(image)
  const bytes = await download(lab, tenant, `${lab.glance.public}/v2/images/${image}/file`)
  const agent = original['hw_qemu_guest_agent']
  const record = {
    name,
    disk_format: 'raw',
    container_format: 'bare',
    visibility: 'private',
    ...(agent === undefined ? {} : { hw_qemu_guest_agent: agent }),
  }
  const copy = await images.create(record, bytes)
  story.remember(copy)
  return copy
}
