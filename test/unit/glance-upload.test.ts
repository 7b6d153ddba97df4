import { createHash } from 'node:crypto'
import { setImmediate } from 'node:timers/promises'
import { expect, test } from 'vitest'
import type { GlanceCalls } from '../../shared/adapters/glance-calls.ts'
import { uploads } from '../../shared/adapters/glance-upload.ts'
import type { Image } from '../../shared/ports/images.ts'

const bytes = Buffer.from('what the disk holds')
const queued: Image = {
  id: 'de300001-0000-4000-8000-0000000000aa',
  name: 'snap',
  owner: 'tenant',
  status: 'queued',
  isProtected: false,
  isPrivate: true,
  sizeBytes: null,
  virtualSizeBytes: null,
  checksum: null,
  createdAtMs: 0,
  updatedAtMs: 0,
  locations: [],
  stores: [],
  properties: {},
}

/** Glance's connection is one that it has just answered on, and closes when it stays idle. */
test('an upload is not begun before its first byte is there', async () => {
  const order: string[] = []
  const late = new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        await setImmediate()
        order.push('first byte')
        controller.enqueue(bytes)
        controller.close()
      },
    },
    { highWaterMark: 0 },
  )
  let image = queued
  const calls: GlanceCalls = {
    find: async () => image,
    patch: () => Promise.reject(new Error('nothing is changed here')),
    async send({ body }) {
      order.push('request')
      for await (const _ of body as ReadableStream<Uint8Array>);
      const checksum = createHash('md5').update(bytes).digest('hex')
      image = { ...queued, status: 'active', sizeBytes: bytes.length, checksum }
      return { status: 204, headers: new Headers(), type: '', text: '' }
    },
  }
  const sent = await uploads(calls)(queued.id, late, AbortSignal.timeout(5_000))
  expect(sent.sizeBytes).toBe(bytes.length)
  expect(order).toEqual(['first byte', 'request'])
})

test('an upload whose source never begins ends with its caller', async () => {
  const never = new ReadableStream<Uint8Array>({ pull: () => new Promise(() => undefined) })
  const calls: GlanceCalls = {
    find: async () => queued,
    patch: () => Promise.reject(new Error('nothing is changed here')),
    send: () => Promise.reject(new Error('nothing is asked for here')),
  }
  const caller = new AbortController()
  const uploaded = uploads(calls)(queued.id, never, caller.signal)
  await setImmediate()
  caller.abort()
  await expect(uploaded).rejects.toMatchObject({ code: 'TIMEOUT' })
})
