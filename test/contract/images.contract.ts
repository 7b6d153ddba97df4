import { createHash, randomUUID } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { Failure } from '../../shared/failures.ts'
import type { ImageRecord, Images } from '../../shared/ports/images.ts'
import { codeOf, expectFailure, patient, untilDone } from './outcome.ts'

/** What Glance shows its administrator. */
export interface ShownImage {
  status: string
  owner: string
  visibility: string
  isProtected: boolean
  diskFormat: string | null
  containerFormat: string | null
  minDiskGib: number
  properties: Record<string, string>
}

/** A Glance over a pool, and hands that are not the adapter's to change and to look at it. */
export interface ImagesWorld {
  images: Images
  project: string
  otherProject: string
  /** an RBD image with its protected `snap` in Glance's pool */
  makeVolume(id: string): Promise<{ url: string; sizeBytes: number }>
  volumeExists(id: string): Promise<boolean>
  /** MD5 of the RBD image's bytes */
  md5OfVolume(id: string): Promise<string>
  /** the record that nova-api makes before the compute starts */
  queuedByNova(instance: string, inherited?: Record<string, string>): Promise<string>
  show(id: string): Promise<ShownImage | null>
  /** the owner deletes it */
  remove(id: string): Promise<void>
  /** somebody else registers the image's bytes, as Nova does */
  activate(id: string): Promise<void>
  /** its owner lets other projects see it */
  share(id: string): Promise<void>
  /** somebody's disk is a clone of it */
  use(id: string): Promise<{ release: () => Promise<void> }>
  close(): Promise<void>

  /** Glance hides locations from everybody */
  hideLocations?: (isHidden: boolean) => void
  /** Glance has the location API of 2024.2; gives an adapter that has not asked yet */
  withLocationApi?: (isOffered: boolean) => Images
  /** Glance takes that long to delete the data of an image */
  slowDelete?: (ms: number) => void
  /** image_size_cap; 0 lifts it */
  limitSize?: (bytes: number) => void
  /** The next call with this method is cut off, before or after it took effect. */
  cutOff?: (method: 'POST' | 'PATCH' | 'PUT' | 'DELETE', when: 'before' | 'after') => void
  /** The next call is answered with this status. */
  answer?: (status: number, headers?: Record<string, string>) => void
  /** The next call gets no answer. */
  hang?: () => void
  /** Whatever token is in use is no longer taken. */
  voidTokens?: () => void
}

const mebibyte = 1024 * 1024

/** Bytes that differ from place to place, in pieces. */
function content(sizeBytes: number): { stream: ReadableStream<Uint8Array>; md5: string; wasCancelled: () => boolean } {
  const pieces = Array.from({ length: sizeBytes / mebibyte }, (_, at) => Buffer.alloc(mebibyte, `piece ${String(at)}`))
  const hash = createHash('md5')
  for (const piece of pieces) hash.update(piece)
  let isCancelled = false
  const stream = new ReadableStream<Uint8Array>({
    pull(controller) {
      const next = pieces.shift()
      if (next) controller.enqueue(next)
      else controller.close()
    },
    cancel() {
      isCancelled = true
    },
  })
  return { stream, md5: hash.digest('hex'), wasCancelled: () => isCancelled }
}

export function describeImages(name: string, make: () => Promise<ImagesWorld>): void {
  describe(`images: ${name}`, { timeout: 120_000 }, () => {
    let world: ImagesWorld
    let images: Images
    beforeAll(async () => {
      world = await make()
      images = world.images
    }, 60_000)
    afterAll(() => world.close(), 120_000)

    const record = (more: Partial<ImageRecord> = {}): ImageRecord => ({
      id: randomUUID(),
      name: 'a snapshot',
      owner: world.project,
      minDiskGib: 3,
      properties: { image_type: 'snapshot', instance_uuid: randomUUID(), rbdsnap_run: randomUUID() },
      ...more,
    })

    async function queued(more: Partial<ImageRecord> = {}): Promise<ImageRecord> {
      const made = record(more)
      await images.ensureQueued(made, patient())
      return made
    }

    describe('a record', () => {
      it('is queued, private, raw, and of the owner that was named; twice is once', async () => {
        const made = await queued()
        await images.ensureQueued(made, patient())
        expect(await world.show(made.id)).toEqual({
          status: 'queued',
          owner: world.project,
          visibility: 'private',
          isProtected: false,
          diskFormat: 'raw',
          containerFormat: 'bare',
          minDiskGib: 3,
          properties: made.properties,
        })
      })

      it('is found with what it says of itself, and null when it is not there', async () => {
        const made = await queued()
        const found = await images.find(made.id, patient())
        const { id, name, owner, properties } = made
        expect(found).toMatchObject({
          id,
          name,
          owner,
          properties,
          status: 'queued',
          isProtected: false,
          locations: [],
        })
        expect(Math.abs((found?.createdAtMs ?? 0) - Date.now())).toBeLessThan(60_000)
        expect(found?.updatedAtMs).toBeGreaterThanOrEqual(found?.createdAtMs ?? Infinity)
        expect(await images.find(randomUUID(), patient())).toBeNull()
      })

      it('of another run or another project under that id is NAME_TAKEN', async () => {
        const made = await queued()
        const otherRun = { ...made, properties: { ...made.properties, rbdsnap_run: randomUUID() } }
        await expectFailure(images.ensureQueued(otherRun, patient()), 'NAME_TAKEN')
        await expectFailure(images.ensureQueued({ ...made, owner: world.otherProject }, patient()), 'NAME_TAKEN')
      })

      it('cannot bear an id that was deleted: IMAGE_GONE', async () => {
        const made = await queued()
        await world.remove(made.id)
        await expectFailure(images.ensureQueued(made, patient()), 'IMAGE_GONE')
      })

      it('is listed with its instance and its project, newest first', async () => {
        const instance = randomUUID()
        const properties = { instance_uuid: instance, rbdsnap_run: randomUUID() }
        const older = await queued({ properties })
        // Glance's created_at has whole seconds
        await new Promise((resolve) => setTimeout(resolve, 1_100))
        const newer = await queued({ properties })
        await queued()
        await queued({ properties, owner: world.otherProject })
        const found = await images.ofInstance(instance, world.project, patient())
        expect(found.map((image) => image.id)).toEqual([newer.id, older.id])
      })

      it('says whether its project alone sees it', async () => {
        const { id } = await queued()
        expect(await images.find(id, patient())).toMatchObject({ isPrivate: true })
        await world.share(id)
        expect(await images.find(id, patient())).toMatchObject({ isPrivate: false })
      })

      it('takes and loses properties and protection; what is lost already is no matter', async () => {
        const made = await queued()
        await images.setProperties(made.id, { rbdsnap_consistency: 'crash', image_type: 'backup' }, patient())
        await images.setProtected(made.id, true, patient())
        expect(await world.show(made.id)).toMatchObject({
          isProtected: true,
          properties: { ...made.properties, rbdsnap_consistency: 'crash', image_type: 'backup' },
        })
        await images.removeProperties(made.id, ['rbdsnap_consistency', 'never_there'], patient())
        await images.removeProperties(made.id, ['rbdsnap_consistency'], patient())
        await images.setProtected(made.id, false, patient())
        const { isProtected, properties } = (await world.show(made.id)) ?? {}
        expect(isProtected).toBe(false)
        expect(properties).not.toHaveProperty('rbdsnap_consistency')
      })

      it('tells when it was last changed', async () => {
        const { id } = await queued()
        const before = await images.find(id, patient())
        // Glance's updated_at has whole seconds
        await new Promise((resolve) => setTimeout(resolve, 1_100))
        await images.setProperties(id, { a: 'b' }, patient())
        const after = await images.find(id, patient())
        expect(after?.updatedAtMs).toBeGreaterThan(before?.updatedAtMs ?? Infinity)
        expect(after?.createdAtMs).toBe(before?.createdAtMs)
      })

      it('that its owner deleted cannot be changed: IMAGE_GONE', async () => {
        const { id } = await queued()
        await world.remove(id)
        await expectFailure(images.setProtected(id, false, patient()), 'IMAGE_GONE')
        await expectFailure(images.setProperties(id, { a: 'b' }, patient()), 'IMAGE_GONE')
        await expectFailure(images.removeProperties(id, ['a'], patient()), 'IMAGE_GONE')
      })
    })

    describe("taking over Nova's image", () => {
      const claim = { minDiskGib: 2, properties: { rbdsnap_run: randomUUID() } }

      it('gives it its formats, our mark and protection; twice is once', async () => {
        const id = await world.queuedByNova(randomUUID())
        await images.claim(id, claim, patient())
        await images.claim(id, claim, patient())
        expect(await world.show(id)).toMatchObject({
          status: 'queued',
          isProtected: true,
          diskFormat: 'raw',
          containerFormat: 'bare',
          minDiskGib: 2,
          properties: claim.properties,
        })
      })

      it("takes off what an earlier run's image had left on it", async () => {
        const inherited = {
          rbdsnap_run: randomUUID(),
          rbdsnap_owner_protected: 'true',
          rbdsnap_consistency: 'filesystem',
          hw_disk_bus: 'scsi',
        }
        const instance = randomUUID()
        const id = await world.queuedByNova(instance, inherited)
        const own = { ...claim.properties, rbdsnap_owner_protected: 'true' }
        await images.claim(id, { ...claim, properties: own }, patient())
        const { properties } = (await world.show(id)) ?? {}
        expect(properties).toMatchObject({ ...own, hw_disk_bus: 'scsi', instance_uuid: instance })
        expect(properties).not.toHaveProperty('rbdsnap_consistency')

        // what the first of two claims noted stays, also when the second does not repeat it
        await images.claim(id, claim, patient())
        expect((await world.show(id))?.properties).toEqual(properties)
      })

      it('twice at once is once, also when there is something to take off', async () => {
        const id = await world.queuedByNova(randomUUID(), { rbdsnap_road: 'clone' })
        // the slower one may meet the other in Glance's database: a bare 500, and nothing changed
        const again = () => images.claim(id, claim, patient()).then(() => true)
        await Promise.all([untilDone(again, Boolean), untilDone(again, Boolean)])
        const { properties } = (await world.show(id)) ?? {}
        expect(properties).toMatchObject(claim.properties)
        expect(properties).not.toHaveProperty('rbdsnap_road')
      })

      it('comes too late for an active image: NOVA_DID_IT, and nothing changes', async () => {
        const id = await world.queuedByNova(randomUUID())
        await world.makeVolume(id)
        await world.activate(id)
        const before = await world.show(id)
        await expectFailure(images.claim(id, claim, patient()), 'NOVA_DID_IT')
        expect(await world.show(id)).toEqual(before)
      })

      it('comes too late for a deleted image: IMAGE_GONE', async () => {
        const id = await world.queuedByNova(randomUUID())
        await world.remove(id)
        await expectFailure(images.claim(id, claim, patient()), 'IMAGE_GONE')
      })
    })

    function registering(adapter: () => Images, how: string): void {
      describe(`registering bytes that are there, ${how}`, () => {
        it('makes the image active with their size; twice is once', async () => {
          const { id } = await queued()
          const { url, sizeBytes } = await world.makeVolume(id)
          await adapter().ensureLocation(id, url, sizeBytes, patient())
          await adapter().ensureLocation(id, url, sizeBytes, patient())
          const image = await images.find(id, patient())
          // Glance reads no data for it
          expect(image).toMatchObject({ status: 'active', sizeBytes, virtualSizeBytes: null, checksum: null })
          expect(image?.locations.every((location) => location === url)).toBe(true)
        })

        it('is LOCATION_REFUSED when they are not there, and the image stays queued', async () => {
          const { id } = await queued()
          const { url, sizeBytes } = await world.makeVolume(randomUUID())
          const missing = url.replace(/[^/]+\/snap$/, `${id}/snap`)
          await expectFailure(adapter().ensureLocation(id, missing, sizeBytes, patient()), 'LOCATION_REFUSED')
          expect(await world.show(id)).toMatchObject({ status: 'queued' })
        })

        it('is NAME_TAKEN when the image is active with others', async () => {
          const { id } = await queued()
          const first = await world.makeVolume(id)
          await adapter().ensureLocation(id, first.url, first.sizeBytes, patient())
          const second = await world.makeVolume(randomUUID())
          await expectFailure(adapter().ensureLocation(id, second.url, second.sizeBytes, patient()), 'NAME_TAKEN')
        })

        it('is NAME_TAKEN when the size is not the one expected', async () => {
          const { id } = await queued()
          const { url, sizeBytes } = await world.makeVolume(id)
          await expectFailure(adapter().ensureLocation(id, url, sizeBytes + 1, patient()), 'NAME_TAKEN')
        })

        it('is IMAGE_GONE when its owner deleted it', async () => {
          const { id } = await queued()
          const { url, sizeBytes } = await world.makeVolume(id)
          await world.remove(id)
          await expectFailure(adapter().ensureLocation(id, url, sizeBytes, patient()), 'IMAGE_GONE')
        })
      })
    }
    registering(() => images, 'as this Glance wants it')

    describe('a Glance of 2024.2', () => {
      let newer: Images | null = null
      beforeAll(() => {
        newer = world.withLocationApi?.(true) ?? null
      })
      afterAll(() => {
        world.withLocationApi?.(false)
      })

      registering(() => newer ?? images, 'with POST /locations where it is offered')

      it('takes locations while it hides them', async (test) => {
        if (!newer || !world.hideLocations) return test.skip('this world has no withLocationApi or hideLocations')
        const { id } = await queued()
        const { url, sizeBytes } = await world.makeVolume(id)
        world.hideLocations(true)
        await newer.ensureLocation(id, url, sizeBytes, patient()).finally(() => world.hideLocations?.(false))
        expect(await world.show(id)).toMatchObject({ status: 'active' })
      })
    })

    it('a Glance that hides locations and has no other way is LOCATION_REFUSED', async (test) => {
      if (!world.hideLocations) return test.skip('this world has no hideLocations')
      const { id } = await queued()
      const { url, sizeBytes } = await world.makeVolume(id)
      world.hideLocations(true)
      const work = images.ensureLocation(id, url, sizeBytes, patient()).finally(() => world.hideLocations?.(false))
      await expectFailure(work, 'LOCATION_REFUSED')
      expect(await world.show(id)).toMatchObject({ status: 'queued' })
    })

    describe('an upload', () => {
      it('arrives whole, and says what was sent; twice is once', async () => {
        const { id } = await queued()
        const { stream, md5 } = content(9 * mebibyte)
        const sent = { sizeBytes: 9 * mebibyte, md5 }
        expect(await images.upload(id, stream, patient())).toEqual(sent)
        expect(await images.find(id, patient())).toMatchObject({
          status: 'active',
          sizeBytes: sent.sizeBytes,
          virtualSizeBytes: sent.sizeBytes,
          checksum: md5,
        })
        expect(await world.md5OfVolume(id)).toBe(md5)
        expect(await images.upload(id, content(9 * mebibyte).stream, patient())).toEqual(sent)
      })

      it('may be in another format, set before it; twice is once', async () => {
        const { id } = await queued()
        await images.setDiskFormat(id, 'qcow2', patient())
        await images.setDiskFormat(id, 'qcow2', patient())
        await images.upload(id, content(mebibyte).stream, patient())
        expect(await world.show(id)).toMatchObject({ status: 'active', diskFormat: 'qcow2' })
      })

      it('of other bytes to an image that has its bytes is NAME_TAKEN', async () => {
        const { id } = await queued()
        await images.upload(id, content(2 * mebibyte).stream, patient())
        await expectFailure(images.upload(id, content(3 * mebibyte).stream, patient()), 'NAME_TAKEN')
      })

      it('whose source fails is that failure, and can be begun again', async () => {
        const { id } = await queued()
        let pieces = 3
        const broken = new ReadableStream<Uint8Array>({
          pull(controller) {
            pieces -= 1
            if (pieces >= 0) controller.enqueue(Buffer.alloc(mebibyte, 1))
            else controller.error(new Failure('CEPH_UNREACHABLE', 'the export ended early'))
          },
        })
        await expectFailure(images.upload(id, broken, patient()), 'CEPH_UNREACHABLE', /ended early/)
        const again = () => images.upload(id, content(2 * mebibyte).stream, patient())
        expect(await untilDone(again, () => true)).toMatchObject({ sizeBytes: 2 * mebibyte })
      })

      it('twice at once is one image; the slower one is told to come again', async () => {
        const { id } = await queued()
        const { md5 } = content(4 * mebibyte)
        const both = [0, 1].map(() => codeOf(images.upload(id, content(4 * mebibyte).stream, patient())))
        for (const code of await Promise.all(both)) expect(['ok', 'GLANCE_UNREACHABLE']).toContain(code)
        const again = () => images.upload(id, content(4 * mebibyte).stream, patient())
        expect(await untilDone(again, () => true)).toMatchObject({ md5 })
        expect(await world.md5OfVolume(id)).toBe(md5)
      })

      it('to a name that the pool has already is refused, without a reason, and what is there stays', async () => {
        const { id } = await queued()
        const { url, sizeBytes } = await world.makeVolume(id)
        const { stream } = content(2 * mebibyte)
        await expectFailure(images.upload(id, stream, patient()), 'GLANCE_UNREACHABLE', /500/)
        expect(await world.volumeExists(id)).toBe(true)
        await images.ensureLocation(id, url, sizeBytes, patient())
      })

      it('whose image is deleted meanwhile is IMAGE_GONE, and leaves nothing in the pool', async () => {
        const { id } = await queued()
        let pieces = 20
        const stream = new ReadableStream<Uint8Array>({
          async pull(controller) {
            pieces -= 1
            if (pieces === 10) {
              await untilDone(
                () => images.find(id, patient()),
                (image) => image?.status === 'saving',
              )
              await world.remove(id)
            }
            if (pieces > 0) controller.enqueue(Buffer.alloc(mebibyte, 1))
            else controller.close()
          },
        })
        await expectFailure(images.upload(id, stream, patient()), 'IMAGE_GONE')
        expect(await world.volumeExists(id)).toBe(false)
      })

      it('to an image that is gone is IMAGE_GONE, and its source is let go', async () => {
        const { id } = await queued()
        await world.remove(id)
        const { stream, wasCancelled } = content(2 * mebibyte)
        await expectFailure(images.upload(id, stream, patient()), 'IMAGE_GONE')
        expect(wasCancelled()).toBe(true)
      })

      it('that is too large is QUOTA', async (test) => {
        if (!world.limitSize) return test.skip('this world has no limitSize')
        const { id } = await queued()
        world.limitSize(mebibyte)
        const work = images.upload(id, content(64 * mebibyte).stream, patient()).finally(() => world.limitSize?.(0))
        await expectFailure(work, 'QUOTA')
      })

      it('that its caller gives up ends, and so does its source', async () => {
        const { id } = await queued()
        let isCancelled = false
        const endless = new ReadableStream<Uint8Array>({
          async pull(controller) {
            await new Promise((resolve) => setTimeout(resolve, 10))
            controller.enqueue(Buffer.alloc(1024, 1))
          },
          cancel() {
            isCancelled = true
          },
        })
        await expectFailure(images.upload(id, endless, AbortSignal.timeout(300)), 'TIMEOUT')
        await untilDone(
          async () => isCancelled,
          (is) => is,
        )
      })
    })

    describe('removing an active image', () => {
      const anyTime = () => {}
      async function made(): Promise<string> {
        const { id } = await queued()
        const { url, sizeBytes } = await world.makeVolume(id)
        await images.ensureLocation(id, url, sizeBytes, patient())
        return id
      }

      it('removes it and its data, once; then it is gone', async () => {
        const id = await made()
        expect(await images.remove(id, anyTime, patient())).toEqual({ is: 'removed' })
        expect(await world.show(id)).toBeNull()
        expect(await world.volumeExists(id)).toBe(false)
        expect(await images.remove(id, anyTime, patient())).toEqual({ is: 'gone' })
        expect(await images.remove(randomUUID(), anyTime, patient())).toEqual({ is: 'gone' })
      })

      const late = () => {
        throw new Failure('TIMEOUT', 'too long ago')
      }

      it('is not asked for when what was seen before it is too long ago', async () => {
        const id = await made()
        await expectFailure(images.remove(id, late, patient()), 'TIMEOUT')
        expect(await world.show(id)).toMatchObject({ status: 'active' })
      })

      it('is not asked for a second time, with a new token, when it is too long ago by then', async (test) => {
        if (!world.answer) return test.skip('this world has no answer')
        const id = await made()
        world.answer(401)
        let looks = 0
        const once = () => {
          if (looks++ > 0) late()
        }
        await expectFailure(images.remove(id, once, patient()), 'TIMEOUT')
        expect(await world.show(id)).toMatchObject({ status: 'active' })
      })

      it('that is protected is refused, and the image whole', async () => {
        const id = await made()
        await images.setProtected(id, true, patient())
        const why = expect.stringMatching(/403.*protected/) as string
        expect(await images.remove(id, anyTime, patient())).toEqual({ is: 'refused', why })
        expect(await world.show(id)).toMatchObject({ status: 'active' })
        await images.setProtected(id, false, patient())
      })

      // glance_store up to 4.5. From 4.6 on the data goes to the trash below its clones, and the answer is 204: who asks looks before.
      it('that is in use is busy, and the image whole; it is removed when it is used no more', async () => {
        const id = await made()
        const user = await world.use(id)
        const why = expect.stringMatching(/409.*in use/) as string
        expect(await images.remove(id, anyTime, patient())).toEqual({ is: 'busy', why })
        expect(await world.show(id)).toMatchObject({ status: 'active' })
        expect(await world.volumeExists(id)).toBe(true)
        await user.release()
        expect(await images.remove(id, anyTime, patient())).toEqual({ is: 'removed' })
      })

      it('goes on when its caller has no time left: busy for who asks meanwhile, and gone in the end', async (test) => {
        if (!world.slowDelete) return test.skip('this world has no slowDelete')
        const id = await made()
        world.slowDelete(1_500)
        await expectFailure(images.remove(id, anyTime, AbortSignal.timeout(300)), 'TIMEOUT')
        world.slowDelete(0)
        expect(await images.remove(id, anyTime, patient())).toMatchObject({ is: 'busy' })
        expect(await images.find(id, patient())).toMatchObject({ status: 'active' })
        const again = () => images.remove(id, anyTime, patient())
        expect(await untilDone(again, ({ is }) => is === 'gone')).toEqual({ is: 'gone' })
        expect(await world.volumeExists(id)).toBe(false)
      })

      for (const when of ['before', 'after'] as const) {
        it(`whose answer is lost ${when} the effect is removed at the end`, async (test) => {
          if (!world.cutOff) return test.skip('this world has no cutOff')
          const id = await made()
          world.cutOff('DELETE', when)
          const again = () => images.remove(id, anyTime, patient())
          await untilDone(again, ({ is }) => is === 'removed' || is === 'gone')
          expect(await world.volumeExists(id)).toBe(false)
        })
      }
    })

    describe('removing a record', () => {
      it('that is queued removes it; twice is once', async () => {
        const { id } = await queued()
        expect(await images.ensureQueuedAbsent(id, patient())).toBe('absent')
        expect(await world.show(id)).toBeNull()
        expect(await images.ensureQueuedAbsent(id, patient())).toBe('absent')
      })

      it('that became active keeps it', async () => {
        const { id } = await queued()
        await world.makeVolume(id)
        await world.activate(id)
        expect(await images.ensureQueuedAbsent(id, patient())).toBe('kept')
        expect(await world.show(id)).toMatchObject({ status: 'active' })
        expect(await world.volumeExists(id)).toBe(true)
      })

      it('that is protected keeps it', async () => {
        const { id } = await queued()
        await images.setProtected(id, true, patient())
        expect(await images.ensureQueuedAbsent(id, patient())).toBe('kept')
        expect(await world.show(id)).toMatchObject({ status: 'queued' })
      })
    })

    for (const when of ['before', 'after'] as const) {
      it(`answers lost ${when} the effect change nothing in what there is at the end`, async (test) => {
        if (!world.cutOff) return test.skip('this world has no cutOff')
        const made = record()
        const { id } = made
        const again = (work: () => Promise<unknown>) => untilDone(work, () => true)
        world.cutOff('POST', when)
        await again(() => images.ensureQueued(made, patient()))
        world.cutOff('PATCH', when)
        await again(() => images.setProperties(id, { rbdsnap_road: 'clone' }, patient()))
        const { url, sizeBytes } = await world.makeVolume(id)
        world.cutOff('PATCH', when)
        await again(() => images.ensureLocation(id, url, sizeBytes, patient()))
        expect(await world.show(id)).toMatchObject({ status: 'active', properties: { rbdsnap_road: 'clone' } })
        const nova = await world.queuedByNova(randomUUID())
        world.cutOff('PATCH', when)
        await again(() => images.claim(nova, { minDiskGib: 1, properties: { rbdsnap_run: 'r' } }, patient()))
        await images.setProtected(nova, false, patient())
        world.cutOff('DELETE', when)
        await again(() => images.ensureQueuedAbsent(nova, patient()))
        expect(await world.show(nova)).toBeNull()
      })
    }

    it('a busy Glance says when to come again', async (test) => {
      if (!world.answer) return test.skip('this world has no answer')
      world.answer(503, { 'retry-after': '7' })
      const failure = await images.find(randomUUID(), patient()).catch((error: unknown) => error)
      expect(failure).toMatchObject({ code: 'GLANCE_UNREACHABLE', retryInMs: 7_000 })
    })

    it("an answer that is not Glance's is quoted, without its markup", async (test) => {
      if (!world.answer) return test.skip('this world has no answer')
      world.answer(200, { 'content-type': 'text/html' })
      await expectFailure(images.find(randomUUID(), patient()), 'ANSWER_UNREADABLE', /Glance answered 200/)
    })

    it('a Glance that does not answer is TIMEOUT when the caller gives up, and nothing is held', async (test) => {
      if (!world.hang) return test.skip('this world has no hang')
      const { id } = await queued()
      world.hang()
      await expectFailure(images.find(id, AbortSignal.timeout(300)), 'TIMEOUT')
      expect(await images.find(id, patient())).toMatchObject({ status: 'queued' })
    })

    it('a token that is no longer taken is renewed', async (test) => {
      if (!world.voidTokens) return test.skip('this world has no voidTokens')
      const { id } = await queued()
      world.voidTokens()
      expect(await images.find(id, patient())).not.toBeNull()
      world.voidTokens()
      const { stream, md5 } = content(2 * mebibyte)
      expect(await images.upload(id, stream, patient())).toMatchObject({ md5 })
    })

    it('a caller that gave up is told TIMEOUT', async () => {
      await expectFailure(images.find(randomUUID(), AbortSignal.abort()), 'TIMEOUT')
    })
  })
}
