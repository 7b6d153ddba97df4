import { Failure } from '../failures.ts'
import { properties as ours, propertyPrefix } from '../names.ts'
import type { Image, ImageRecord, Images } from '../ports/images.ts'
import { type Change, glanceCalls, type GlanceCalls, imageGone, imagePath, pointer } from './glance-calls.ts'
import { pageShape, service, toImage } from './glance-image.ts'
import { locations } from './glance-location.ts'
import { removal } from './glance-removal.ts'
import { uploads } from './glance-upload.ts'
import { type Answer, decode, refusal } from './http.ts'
import type { Identity } from './keystone.ts'
import { openstack } from './openstack.ts'
import { allPages } from './pages.ts'

export interface GlanceOptions {
  /** instead of the catalogue's: an endpoint of its own may show locations that the public one hides (OSSN-0090) */
  endpoint?: string | undefined
}

export function glance(identity: Identity, options: GlanceOptions = {}): Images {
  const base = async (signal: AbortSignal) => v2(options.endpoint ?? (await identity.endpoint('image', signal)))
  const calls = glanceCalls(openstack(identity, service, base))

  async function change(id: string, changes: Change[], signal: AbortSignal): Promise<void> {
    if (changes.length === 0) return
    const answer = await calls.patch(id, changes, signal)
    if (answer.status !== 200) throw refusal(service, `image ${id}`, answer, { 404: 'IMAGE_GONE', 413: 'QUOTA' })
  }

  return {
    find: calls.find,
    ofInstance: (instance, owner, signal) => ofInstance(calls, instance, owner, signal),
    ensureLocation: locations(calls),
    upload: uploads(calls),

    async ensureQueued(record, signal) {
      const what = `image ${record.id}`
      const answer = await calls.send({
        what,
        method: 'POST',
        path: '/images',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({
          ...record.properties,
          id: record.id,
          name: record.name,
          owner: record.owner,
          visibility: 'private',
          disk_format: 'raw',
          container_format: 'bare',
          min_disk: record.minDiskGib,
        }),
        signal,
      })
      if (answer.status === 201) return
      if (answer.status !== 409) throw refusal(service, what, answer, { 413: 'QUOTA' })
      await mustBeOurs(calls, record, signal)
    },

    async claim(id, record, signal) {
      const image = await calls.find(id, signal)
      if (!image) throw imageGone(id)
      const changes: Change[] = [
        { op: 'replace', path: '/disk_format', value: 'raw' },
        { op: 'replace', path: '/container_format', value: 'bare' },
        { op: 'replace', path: '/min_disk', value: record.minDiskGib },
        ...leftOvers(image, record.properties),
        ...additions(record.properties),
        { op: 'replace', path: '/protected', value: true },
      ]
      const answer = await calls.patch(id, changes, signal)
      if (answer.status !== 200) await mustBeClaimed(calls, id, record.properties[ours.run], answer, signal)
    },

    setDiskFormat: (id, format, signal) => change(id, [{ op: 'replace', path: '/disk_format', value: format }], signal),

    setProtected: (id, isProtected, signal) =>
      change(id, [{ op: 'replace', path: '/protected', value: isProtected }], signal),

    setProperties: (id, properties, signal) => change(id, additions(properties), signal),

    async removeProperties(id, names, signal) {
      const image = await calls.find(id, signal)
      if (!image) throw imageGone(id)
      // removing what is not there is a 409
      const there = names.filter((name) => name in image.properties)
      await change(
        id,
        there.map((name) => ({ op: 'remove', path: pointer(name) })),
        signal,
      )
    },

    remove: removal(calls),

    async ensureQueuedAbsent(id, signal) {
      const image = await calls.find(id, signal)
      if (!image || image.status === 'deleted' || image.status === 'pending_delete') return 'absent'
      if (image.status !== 'queued' || image.isProtected) return 'kept'
      const what = `image ${id}`
      const answer = await calls.send({ what, method: 'DELETE', path: imagePath(id), signal })
      if (answer.status === 204 || answer.status === 404) return 'absent'
      // protected (403) or in use (409) since we looked: so somebody made something of it
      if (answer.status === 403 || answer.status === 409) return 'kept'
      throw refusal(service, what, answer)
    },
  }
}

const additions = (properties: Record<string, string>): Change[] =>
  Object.entries(properties).map(([name, value]) => ({ op: 'add', path: pointer(name), value }))

/** Of another run, inherited from the base image. */
function leftOvers(image: Image, wanted: Record<string, string>): Change[] {
  if (image.properties[ours.run] === wanted[ours.run]) return []
  const left = Object.keys(image.properties).filter((name) => name.startsWith(propertyPrefix) && !(name in wanted))
  return left.map((name) => ({ op: 'remove', path: pointer(name) }))
}

/** An id is taken for ever, also by an image that was deleted: then there is nothing to show. */
async function mustBeOurs(calls: GlanceCalls, record: ImageRecord, signal: AbortSignal): Promise<void> {
  const there = await calls.find(record.id, signal)
  if (!there) throw new Failure('IMAGE_GONE', `image ${record.id}: its id was used and deleted before`)
  const run = record.properties[ours.run]
  if (there.owner === record.owner && run !== undefined && there.properties[ours.run] === run) return
  throw new Failure('NAME_TAKEN', `image ${record.id} belongs to project ${there.owner} and is not of this run`)
}

/** disk_format "can be only replaced for a queued image" (403), and the whole PATCH with it. */
async function mustBeClaimed(
  calls: GlanceCalls,
  id: string,
  run: string | undefined,
  answer: Answer,
  signal: AbortSignal,
): Promise<void> {
  if (answer.status === 404) throw imageGone(id)
  if (answer.status === 403 || answer.status === 409) {
    const image = await calls.find(id, signal)
    if (!image) throw imageGone(id)
    if (run !== undefined && image.properties[ours.run] === run) return
    if (image.status !== 'queued') throw new Failure('NOVA_DID_IT', `image ${id} is ${image.status}`)
  }
  // 409 while it is queued: the image was changed since we looked, and has no more what was to be taken off
  throw refusal(service, `image ${id}`, answer, { 409: 'GLANCE_UNREACHABLE', 413: 'QUOTA' })
}

/** Glance's own default are 25 a page (limit_param_default). */
const pageSize = '200'

async function ofInstance(calls: GlanceCalls, instance: string, owner: string, signal: AbortSignal): Promise<Image[]> {
  const what = `images of instance ${instance}`
  return allPages(what, async (marker) => {
    const query = new URLSearchParams({
      instance_uuid: instance,
      owner,
      limit: pageSize,
      sort: 'created_at:desc',
      ...(marker ? { marker } : {}),
    })
    const answer = await calls.send({ what, method: 'GET', path: `/images?${query.toString()}`, signal })
    // 400: the image that the page before ended with was deleted since, and is no marker any more
    if (answer.status !== 200) throw refusal(service, what, answer, marker ? { 400: 'GLANCE_UNREACHABLE' } : {})
    const page = decode(pageShape, service, what, answer)
    return { items: page.images.map(toImage), next: page.next === undefined ? undefined : page.images.at(-1)?.id }
  })
}

function v2(endpoint: string): string {
  const bare = endpoint.replace(/\/+$/, '')
  return bare.endsWith('/v2') ? bare : `${bare}/v2`
}
