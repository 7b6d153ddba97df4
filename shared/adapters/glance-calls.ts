import { Failure } from '../failures.ts'
import type { Image } from '../ports/images.ts'
import { imageShape, service, toImage } from './glance-image.ts'
import { type Answer, decode, mustBeAsked, refusal } from './http.ts'
import type { Send } from './openstack.ts'

/** One change of an image, RFC 6902 in the dialect of Glance's v2.1 media type. */
export type Change = { op: 'add' | 'replace'; path: string; value: unknown } | { op: 'remove'; path: string }

export interface GlanceCalls {
  send: Send
  find(id: string, signal: AbortSignal): Promise<Image | null>
  /** The answer as it is: what a status means depends on the change. */
  patch(id: string, changes: Change[], signal: AbortSignal): Promise<Answer>
}

export const imagePath = (id: string) => `/images/${encodeURIComponent(id)}`
export const imageGone = (id: string) => new Failure('IMAGE_GONE', `image ${id}: Glance does not have it`)

/** A property's name as part of a JSON pointer. */
export const pointer = (name: string) => `/${name.replaceAll('~', '~0').replaceAll('/', '~1')}`

export function glanceCalls(send: Send): GlanceCalls {
  return {
    send,
    async find(id, signal) {
      const what = `image ${id}`
      const answer = await send({ what, method: 'GET', path: imagePath(id), signal })
      if (answer.status === 404) return null
      if (answer.status !== 200) throw refusal(service, what, answer)
      const shown = decode(imageShape, service, what, answer)
      mustBeAsked(what, id, shown.id)
      return toImage(shown)
    },
    async patch(id, changes, signal) {
      const what = `image ${id}`
      const answer = await send({
        what,
        method: 'PATCH',
        path: imagePath(id),
        headers: { 'content-type': 'application/openstack-images-v2.1-json-patch' },
        body: JSON.stringify(changes),
        signal,
      })
      // A 200 counts with the image in it: a proxy's own page changes nothing, and a claim believed protects nothing.
      if (answer.status === 200) mustBeAsked(what, id, decode(imageShape, service, what, answer).id)
      return answer
    },
  }
}
