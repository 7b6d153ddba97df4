import { createHash } from 'node:crypto'
import { Failure, type FailureCode } from '../../shared/failures.ts'
import { properties as ours, propertyPrefix } from '../../shared/names.ts'
import type { Images } from '../../shared/ports/images.ts'
import { heeding } from './heed.ts'
import { GlanceError, wholeOf, type Glance } from './glance.ts'
import { fakeWire, type Wire } from './wire.ts'

/** The port over a fake Glance. */
export function fakeImages(glance: Glance, wire: Wire = fakeWire()): Images {
  const me = 'rbdsnap'
  const { request } = wire
  const get = (id: string) => refused({ 404: 'IMAGE_GONE' }, () => glance.get(id))
  const patch = (id: string, change: Parameters<Glance['patch']>[1]) =>
    request(() => refused({ 404: 'IMAGE_GONE' }, () => glance.patch(id, change)))
  const bytesFor = async (id: string, bytes: ReadableStream) => {
    if (!glance.images.has(id)) await bytes.cancel()
    return get(id)
  }

  return heeding<Images>({
    find: async (id) => structuredClone(glance.images.get(id) ?? null),

    ofInstance: async (instance, owner) =>
      structuredClone(
        [...glance.images.values()]
          .filter((i) => i.owner === owner && i.properties['instance_uuid'] === instance)
          .sort((a, b) => b.createdAtMs - a.createdAtMs),
      ),

    async ensureQueued({ id, name, owner, minDiskGib, properties }) {
      const there = glance.images.get(id)
      if (there && there.owner === owner && there.properties[ours.run] === properties[ours.run]) return
      if (there) throw new Failure('NAME_TAKEN', `image ${id} is not of this run`)
      refused({ 409: 'IMAGE_GONE', 413: 'QUOTA' }, () =>
        request(() =>
          glance.create(me, { id, name, owner, minDiskGib, properties: { ...properties }, hasFormats: true }),
        ),
      )
    },

    async claim(id, { minDiskGib, properties }) {
      const image = get(id)
      if (image.status !== 'queued') {
        if (image.properties[ours.run] !== undefined && image.properties[ours.run] === properties[ours.run]) return
        throw new Failure('NOVA_DID_IT', `image ${id} is ${image.status}`)
      }
      const isClaimed = image.properties[ours.run] !== undefined && image.properties[ours.run] === properties[ours.run]
      const left = Object.keys(image.properties).filter((name) => name.startsWith(propertyPrefix))
      patch(id, (now) => {
        // refused as a whole once the image is not queued
        if (now.status !== 'queued') throw new Failure('NOVA_DID_IT', `image ${id} is ${now.status}`)
        for (const name of isClaimed ? [] : left) delete now.properties[name]
        now.hasFormats = true
        now.minDiskGib = minDiskGib
        now.isProtected = true
        Object.assign(now.properties, properties)
      })
    },

    async ensureLocation(id, url, sizeBytes) {
      const image = get(id)
      if (image.status === 'queued') {
        refused({ 400: 'LOCATION_REFUSED', 403: 'LOCATION_REFUSED' }, () =>
          request(() => glance.addLocation(me, id, url)),
        )
      }
      if (image.status !== 'active' || image.sizeBytes !== sizeBytes || image.locations.join() !== url) {
        throw new Failure('NAME_TAKEN', `image ${id} is ${image.status} at ${image.locations.join()}`)
      }
    },

    async upload(id, bytes, signal) {
      const hash = createHash('md5')
      let sizeBytes = 0
      const image = await bytesFor(id, bytes)
      const measured = bytes.pipeThrough(
        new TransformStream<Uint8Array, Uint8Array>({
          transform(chunk, controller) {
            hash.update(chunk)
            sizeBytes += chunk.length
            controller.enqueue(chunk)
          },
        }),
        { signal },
      )
      try {
        if (image.status === 'active') await wholeOf(measured)
        else await glance.upload(me, id, measured)
      } catch (error) {
        if (signal.aborted) throw new Failure('TIMEOUT', `image ${id}`)
        if (!(error instanceof GlanceError)) throw error
        throw new Failure(
          error.status === 410 ? 'IMAGE_GONE' : 'GLANCE_UNREACHABLE',
          `${error.status}: ${error.message}`,
        )
      }
      const sent = { sizeBytes, md5: hash.digest('hex') }
      if (image.sizeBytes !== sizeBytes || image.checksum !== sent.md5)
        throw new Failure('NAME_TAKEN', `image ${id} has other bytes`)
      return sent
    },

    async setDiskFormat(id, format) {
      patch(id, (image) => (image.diskFormat = format))
    },
    async setProtected(id, isProtected) {
      patch(id, (image) => (image.isProtected = isProtected))
    },
    async setProperties(id, properties) {
      patch(id, (image) => Object.assign(image.properties, properties))
    },
    async removeProperties(id, names) {
      patch(id, (image) => {
        for (const name of names) delete image.properties[name]
      })
    },

    async remove(id, mustBeSoon) {
      mustBeSoon()
      if (!glance.images.has(id)) return { is: 'gone' }
      try {
        request(() => glance.delete(me, id))
      } catch (error) {
        if (!(error instanceof GlanceError)) throw error
        return {
          is: error.status === 403 ? 'refused' : 'busy',
          why: `Glance answered ${error.status}: ${error.message}`,
        }
      }
      return { is: 'removed' }
    },

    async ensureQueuedAbsent(id) {
      const image = glance.images.get(id)
      if (!image) return 'absent'
      if (image.status !== 'queued' || image.isProtected) return 'kept'
      request(() => glance.delete(me, id))
      return 'absent'
    },
  })
}

function refused<T>(codes: Record<number, FailureCode>, act: () => T): T {
  try {
    return act()
  } catch (error) {
    const code = error instanceof GlanceError ? codes[error.status] : undefined
    if (code === undefined) throw error
    throw new Failure(code, (error as GlanceError).message)
  }
}
