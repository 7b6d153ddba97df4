import { openAsBlob } from 'node:fs'
import { as, type Call } from './api.ts'
import { guestImage, guestQcow2, guestRaw } from './guest-image.ts'
import type { Part } from './part.ts'
import { urls } from './ports.ts'

/** The lab's images by the names that they bear in Lab. `flat` is no RBD clone's parent: Nova copies it, and the disk has none. */
const wanted = {
  agent: { file: guestRaw, format: 'raw', properties: { hw_qemu_guest_agent: 'yes' } },
  plain: { file: guestRaw, format: 'raw', properties: {} },
  flat: { file: guestQcow2, format: 'qcow2', properties: { hw_qemu_guest_agent: 'yes' } },
}
export type ImageName = keyof typeof wanted
const imageNames = Object.keys(wanted) as ImageName[]

const url = `${urls.glanceInternal}/v2/images`

const upload: Part = {
  name: 'images',
  needs: ['guest-image', 'glance-internal', 'identities'],
  async make() {
    const admin = await as('admin', 'admin')
    for (const name of imageNames) await ensureImage(admin, name)
  },
}
export const images: Part[] = [guestImage, upload]

/** One of a try before that is not whole is made again. */
async function ensureImage(admin: Call, name: ImageName): Promise<void> {
  for (const image of await called(admin, name)) {
    if (image.status === 'active') return
    await admin('DELETE', `${url}/${image.id}`)
  }
  const { file, format, properties } = wanted[name]
  const about = { name, disk_format: format, container_format: 'bare', visibility: 'public', ...properties }
  const { id } = (await admin('POST', url, about)) as { id: string }
  await admin('PUT', `${url}/${id}/file`, await openAsBlob(file), { 'content-type': 'application/octet-stream' })
}

export async function imageId(admin: Call, name: ImageName): Promise<string> {
  const id = (await called(admin, name))[0]?.id
  if (id === undefined)
    throw new Error(`Glance has no image ${name}; make it again: npm run lab:down -- images, then lab:up`)
  return id
}

async function called(admin: Call, name: string): Promise<{ id: string; status: string }[]> {
  return ((await admin('GET', `${url}?name=${name}&visibility=public`)) as { images: { id: string; status: string }[] })
    .images
}
