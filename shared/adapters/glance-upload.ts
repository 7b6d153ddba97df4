import { createHash } from 'node:crypto'
import { Failure } from '../failures.ts'
import type { Image } from '../ports/images.ts'
import { type GlanceCalls, imageGone, imagePath } from './glance-calls.ts'
import { service } from './glance-image.ts'
import { type Answer, refusal } from './http.ts'
import { orAbort } from './wait.ts'

interface Sent {
  sizeBytes: number
  md5: string
}

/** Bytes into a queued image, measured on their way and compared with what Glance says it stored. */
export function uploads(calls: GlanceCalls) {
  return async function upload(id: string, bytes: ReadableStream<Uint8Array>, signal: AbortSignal): Promise<Sent> {
    // before the stream is touched: this also renews a token that is too old, and a stream can be sent only once
    const measured = measure(bytes)
    try {
      const before = await found(id, signal)
      // a second upload meets the first one in Glance's database, and ends with words of an image that is gone
      if (before.status === 'saving') throw new Failure('GLANCE_UNREACHABLE', `image ${id}: an upload is under way`)
      if (before.status === 'active') {
        await drain(measured.stream)
        return mustBe(before, measured.result())
      }
      // Glance closes a connection that stays idle, and the source may be slow to begin.
      await orAbort(measured.hasBegun, signal, `image ${id}`)
      const answer = await put(id, measured.stream, signal)
      if (answer.status !== 204) throw await refused(id, answer, signal)
      return mustBe(await found(id, signal), measured.result())
    } catch (error) {
      measured.letGo()
      // the source's own failure says more than "the request was cut"
      throw measured.failure() ?? error
    }
  }

  async function found(id: string, signal: AbortSignal): Promise<Image> {
    const image = await calls.find(id, signal)
    if (!image) throw imageGone(id)
    return image
  }

  function put(id: string, body: ReadableStream<Uint8Array>, signal: AbortSignal): Promise<Answer> {
    return calls.send({
      what: `image ${id}`,
      method: 'PUT',
      path: `${imagePath(id)}/file`,
      headers: { 'content-type': 'application/octet-stream' },
      body,
      signal,
      timeoutMs: null,
    })
  }

  /**
   * 409 and 410 also when another upload was quicker (glance/api/v2/image_data.py calls that conflict "could not be found after
   * upload"). A name that the pool has already is a bare 500, like any other trouble of the store's.
   */
  async function refused(id: string, answer: Answer, signal: AbortSignal): Promise<Failure> {
    if (answer.status === 404 || answer.status === 410) await found(id, signal)
    const passing = 'GLANCE_UNREACHABLE'
    return refusal(service, `image ${id}`, answer, { 404: passing, 409: passing, 410: passing, 413: 'QUOTA' })
  }
}

function mustBe(image: Image, sent: Sent): Sent {
  const isSame = image.sizeBytes === sent.sizeBytes && (image.checksum ?? sent.md5) === sent.md5
  if (image.status === 'active' && isSame) return sent
  const has = `${image.status}, ${String(image.sizeBytes)} bytes, MD5 ${String(image.checksum)}`
  const words = `image ${image.id} is ${has}; sent were ${String(sent.sizeBytes)} bytes, MD5 ${sent.md5}`
  throw new Failure('NAME_TAKEN', words)
}

function measure(bytes: ReadableStream<Uint8Array>) {
  const hash = createHash('md5')
  let sizeBytes = 0
  let failure: unknown
  const reader = bytes.getReader()
  const begun = Promise.withResolvers<void>()
  const stream = new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        try {
          const { done, value } = await reader.read()
          if (done) {
            controller.close()
            return
          }
          hash.update(value)
          sizeBytes += value.length
          controller.enqueue(value)
        } catch (error) {
          failure = error
          throw error
        } finally {
          begun.resolve()
        }
      },
      cancel: (reason) => reader.cancel(reason),
    },
    { highWaterMark: 1 },
  )
  return {
    stream,
    /** the first bytes are there, or there will be none */
    hasBegun: begun.promise,
    failure: () => failure,
    /** fetch lets go of a body only when it comes to read it again */
    letGo: () => void reader.cancel().catch(() => undefined),
    result: (): Sent => ({ sizeBytes, md5: hash.digest('hex') }),
  }
}

async function drain(stream: ReadableStream<Uint8Array>): Promise<void> {
  const reader = stream.getReader()
  while (!(await reader.read()).done);
}
