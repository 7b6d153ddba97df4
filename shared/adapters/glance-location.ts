import * as z from 'zod/mini'
import { Failure } from '../failures.ts'
import type { Image } from '../ports/images.ts'
import { type GlanceCalls, imageGone, imagePath } from './glance-calls.ts'
import { service } from './glance-image.ts'
import { type Answer, decode, parseJson, refusal } from './http.ts'
import { pause } from './wait.ts'

const versionsShape = z.object({ versions: z.array(z.object({ id: z.string() })) })
const hiddenShape = z.array(z.object({ url: z.string() }))
const everyMs = 200

/**
 * Registers the bytes that are already in Glance's pool. Glance 2024.2 (API 2.17) has POST /locations for it, so that
 * `show_multiple_locations` can be off; before it there is only PATCH, which needs that setting.
 */
export function locations(calls: GlanceCalls) {
  let offersPost: boolean | undefined

  async function asksPost(signal: AbortSignal): Promise<boolean> {
    if (offersPost !== undefined) return offersPost
    // beside /v2, not below it (glance/api/middleware/version_negotiation.py)
    const answer = await calls.send({ what: "Glance's versions", method: 'GET', path: '/../versions', signal })
    const read = z.safeParse(versionsShape, parseJson(answer.text))
    if (!read.success && answer.status >= 500) throw refusal(service, "Glance's versions", answer)
    offersPost = read.success && read.data.versions.some(({ id }) => isAtLeast217(id))
    return offersPost
  }

  async function add(id: string, url: string, signal: AbortSignal): Promise<void> {
    if (await asksPost(signal)) {
      const answer = await post(id, url, signal)
      if (answer.status === 202) return
      if (answer.status === 404 && !(await calls.find(id, signal))) throw imageGone(id)
      // 403: without the role `service`; 404/405: a proxy that does not know the path. The older way may still be open.
      if (answer.status !== 403 && answer.status !== 404 && answer.status !== 405)
        return believed(id, url, answer, signal)
    }
    const value = { url, metadata: {} }
    const answer = await calls.patch(id, [{ op: 'add', path: '/locations/-', value }], signal)
    if (answer.status !== 200) await believed(id, url, answer, signal)
  }

  const post = (id: string, url: string, signal: AbortSignal): Promise<Answer> =>
    calls.send({
      what: `image ${id}`,
      method: 'POST',
      path: `${imagePath(id)}/locations`,
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ url }),
      signal,
    })

  /** A refusal is fine when the image shows that location: an answer that was lost had worked. */
  async function believed(id: string, url: string, answer: Answer, signal: AbortSignal): Promise<void> {
    if (answer.status === 404) throw imageGone(id)
    if (answer.status === 400 || answer.status === 409) {
      const image = await calls.find(id, signal)
      if (!image) throw imageGone(id)
      if (image.status !== 'queued' && (await shows(image, url, signal)) !== false) return
    }
    throw refusal(service, `image ${id}`, answer, {
      400: 'LOCATION_REFUSED',
      403: 'LOCATION_REFUSED',
      409: 'LOCATION_REFUSED',
      413: 'QUOTA',
    })
  }

  /** null: Glance hides it from us */
  async function shows(image: Image, url: string, signal: AbortSignal): Promise<boolean | null> {
    const shown = image.locations.length > 0 ? image.locations : await hidden(image.id, signal)
    if (shown.length === 0) return null
    return shown.length === 1 && shown[0] === url
  }

  async function hidden(id: string, signal: AbortSignal): Promise<string[]> {
    if (!(await asksPost(signal))) return []
    const what = `image ${id}`
    const answer = await calls.send({ what, method: 'GET', path: `${imagePath(id)}/locations`, signal })
    if (answer.status !== 200) return []
    return decode(hiddenShape, service, what, answer).map((location) => location.url)
  }

  /** `true` when active with exactly this location and size; `false` while it may still become so. */
  async function isDone(id: string, url: string, sizeBytes: number, signal: AbortSignal): Promise<boolean> {
    const image = await calls.find(id, signal)
    if (!image || image.status === 'deleted' || image.status === 'pending_delete') throw imageGone(id)
    if (image.status === 'killed') throw new Failure('LOCATION_REFUSED', `image ${id}: Glance gave it up`)
    if (image.status !== 'active' && image.status !== 'deactivated') return false
    const isOurs = await shows(image, url, signal)
    // Glance reads the size from RBD a moment after 202; a PATCH has it at once
    if (isOurs !== false && image.sizeBytes === null) return false
    if (isOurs === false || image.sizeBytes !== sizeBytes) {
      const found = `${String(image.sizeBytes)} bytes at ${image.locations.join(', ')}`
      throw new Failure('NAME_TAKEN', `image ${id} is active with ${found}, not ${String(sizeBytes)} at ${url}`)
    }
    return true
  }

  return async function ensureLocation(id: string, url: string, sizeBytes: number, signal: AbortSignal): Promise<void> {
    if (await isDone(id, url, sizeBytes, signal)) return
    await add(id, url, signal)
    while (!(await isDone(id, url, sizeBytes, signal))) await pause(everyMs, signal, `image ${id}`)
  }
}

/** `v2.17` */
function isAtLeast217(id: string): boolean {
  const [, major, minor] = /^v(\d+)\.(\d+)$/.exec(id) ?? []
  return Number(major) > 2 || (Number(major) === 2 && Number(minor) >= 17)
}
