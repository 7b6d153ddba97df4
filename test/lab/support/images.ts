import type { Rest } from './rest.ts'
import { waitFor } from './wait.ts'

/** Glance, as its user sees it: properties stand beside the fields. */
export interface Image {
  id: string
  name: string
  status: string
  owner: string
  visibility: string
  protected: boolean
  size: number | null
  checksum: string | null
  /** where Glance shows them */
  locations?: { url: string }[]
  [property: string]: unknown
}

export interface Images {
  find(id: string): Promise<Image | null>
  /** @throws when there is none */
  show(id: string): Promise<Image>
  list(): Promise<Image[]>
  named(name: string): Promise<Image[]>
  untilActive(id: string, withinMs?: number, lookEveryMs?: number): Promise<Image>
  /** until one image of this name is active */
  untilNamedActive(name: string, withinMs?: number, lookEveryMs?: number): Promise<Image>
  create(record: Record<string, unknown>, bytes: Blob): Promise<string>
  change(id: string, patch: { op: string; path: string; value?: unknown }[]): Promise<void>
  /** Deletes, and takes protection off before if there is any. */
  delete(id: string): Promise<void>
}

/** @param glance `lab.glance.public`, or `.internal`, which shows locations */
export function imagesOf(rest: Rest, glance: string): Images {
  const all = `${glance}/v2/images`
  const images: Images = {
    async find(id) {
      const { status, text } = await rest.call('GET', `${all}/${id}`)
      if (status === 404) return null
      if (status !== 200) throw new Error(`image ${id}: ${status} ${text.slice(0, 500)}`)
      return JSON.parse(text) as Image
    },
    async show(id) {
      const image = await images.find(id)
      if (!image) throw new Error(`image ${id} is gone`)
      return image
    },
    list: () => listed(`${all}?limit=1000`),
    named: (name) => listed(`${all}?name=${encodeURIComponent(name)}`),
    untilActive: (id, withinMs, lookEveryMs) =>
      waitFor(
        `image ${id} is active`,
        () => images.show(id),
        (image) => image.status === 'active',
        withinMs,
        lookEveryMs,
      ),
    async untilNamedActive(name, withinMs, lookEveryMs) {
      const [image] = await waitFor(
        `an image named ${name} is active`,
        () => images.named(name),
        (found) => found[0]?.status === 'active',
        withinMs,
        lookEveryMs,
      )
      return image as Image
    },
    async create(record, bytes) {
      const { id } = await rest.must<Image>('POST', all, { body: record })
      await rest.must('PUT', `${all}/${id}/file`, { bytes, headers: { 'content-type': 'application/octet-stream' } })
      return id
    },
    async change(id, patch) {
      const headers = { 'content-type': 'application/openstack-images-v2.1-json-patch' }
      await rest.must('PATCH', `${all}/${id}`, { body: patch, headers })
    },
    async delete(id) {
      const image = await images.find(id)
      if (!image) return
      if (image.protected) await images.change(id, [{ op: 'replace', path: '/protected', value: false }])
      await rest.must('DELETE', `${all}/${id}`)
    },
  }
  return images

  async function listed(url: string): Promise<Image[]> {
    return (await rest.must<{ images: Image[] }>('GET', url)).images
  }
}
