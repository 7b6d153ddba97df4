import { execFile } from 'node:child_process'
import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { isPartUp, killPart, startPart } from '../../infra/lab/control.ts'
import { readLab } from '../../infra/lab/lab.ts'
import { sql } from '../../infra/lab/mariadb.ts'
import { hashOf } from './support/bytes.ts'
import { cephOf } from './support/ceph.ts'
import { guestWrites } from './support/console.ts'
import { bootOnClone } from './support/disks.ts'
import { untilAt, whileHeld } from './support/held.ts'
import { novaOnHomeCluster, novaOnOtherCluster } from './support/other-cluster.ts'
import { openStory, type Story } from './support/story.ts'
import { waitFor } from './support/wait.ts'
import { witnessed } from './support/witness.ts'

/**
 * A disk that cannot be cloned into Glance's pool becomes an image all the same, more slowly: by a copy inside Ceph where that is
 * possible, else by a stream into Glance's upload. Its guest is never stopped, nothing is written to a local disk, and the image
 * says why it took so long.
 */
const run = promisify(execFile)
const lab = readLab()
const otherCeph = cephOf({ ceph: lab.otherCeph })
const { disks, images: imagePool } = lab.ceph.pools
const GiB = 1024 ** 3
/** The disk has 1 GiB, 0.1 of it written; the journal and the queue are a few KiB. */
const noDiskBytes = 32 * 1024 ** 2

const within = { timeout: 300_000 }

describe('a disk that Ceph refuses to clone', () => {
  let story: Story
  let server = ''
  beforeAll(async () => {
    story = await openStory()
    server = await bootOnClone(story, 'unlayered')
    await withoutLayering(story, server)
  })
  afterAll(() => story.close())

  it('is copied inside Ceph, byte for byte, with the reason on the image and its guest running', within, async () => {
    const { servers, images, engine, ceph } = story
    const [{ source, image }, seen] = await witnessed(story, server, async () => {
      await servers.setTag(server, 'snapshot:copied')
      const { wish } = await untilAt(engine, server, 'fallback')
      const snap = `${disks}/${server}_disk@rbdsnap-${wish.run}`
      const source = await whileHeld(engine, () => hashOf(lab.ceph.conf, snap))
      expect(await engine.untilEnded(wish.image)).toMatchObject({ outcome: 'fallback' })
      return { source, image: await images.show(wish.image) }
    })
    expect(image).toMatchObject({
      status: 'active',
      size: GiB,
      rbdsnap_road: 'copy',
      rbdsnap_reason: expect.stringContaining('CLONE_REFUSED'),
      rbdsnap_consistency: 'filesystem',
    })
    expect(await hashOf(lab.ceph.conf, `${imagePool}/${image.id}@snap`)).toBe(source)
    expect(seen).toMatchObject({ powers: ['running'], states: ['active'] })
    expect(seen.largestFileBytes).toBeLessThan(noDiskBytes)
    expect((await ceph.find(disks, `${server}_disk`))?.snaps).toEqual([])
    expect((await servers.show(server)).tags).toEqual([])
    const copy = await story.boot('copied-again', image.id)
    await servers.untilConsoleSays(copy, guestWrites)
    expect(await story.leftovers()).toEqual([])
  })
})

describe.skipIf(lab.otherCeph.conf === '')("a disk in a cluster that is not Glance's", () => {
  beforeAll(() => novaOnOtherCluster(lab))
  afterAll(() => novaOnHomeCluster())

  describe('as raw', () => {
    let story: Story
    let server = ''
    beforeAll(async () => {
      story = await openStory()
      server = await bootOnClone(story, 'elsewhere')
    })
    afterAll(async () => {
      if (!isPartUp('glance-internal')) await startPart('glance-internal')
      await story.close()
    })

    it(
      'is streamed into Glance, byte for byte, with the reason on the image and its guest running',
      within,
      async () => {
        const { servers, images, engine } = story
        const [{ source, image }, seen] = await witnessed(story, server, async () => {
          await servers.setTag(server, 'snapshot:streamed')
          const { wish } = await untilAt(engine, server, 'fallback')
          const snap = `${disks}/${server}_disk@rbdsnap-${wish.run}`
          const source = await whileHeld(engine, () => hashOf(lab.otherCeph.conf, snap))
          expect(await engine.untilEnded(wish.image)).toMatchObject({ outcome: 'fallback' })
          return { source, image: await images.show(wish.image) }
        })
        expect(image).toMatchObject({
          status: 'active',
          size: GiB,
          disk_format: 'raw',
          os_hash_algo: 'sha512',
          os_hash_value: source,
          rbdsnap_road: 'upload',
          rbdsnap_reason: expect.stringContaining('OTHER_CLUSTER'),
          rbdsnap_consistency: 'filesystem',
        })
        expect(await hashOf(lab.ceph.conf, `${imagePool}/${image.id}@snap`)).toBe(source)
        expect(seen).toMatchObject({ powers: ['running'], states: ['active'] })
        expect(seen.largestFileBytes).toBeLessThan(noDiskBytes)
        expect((await otherCeph.find(disks, `${server}_disk`))?.snaps).toEqual([])
        expect((await servers.show(server)).tags).toEqual([])
        expect(await story.leftovers()).toEqual([])
      },
    )

    it(
      'whose Glance is killed in the upload: saving for ever, it is given up, and nothing is left',
      within,
      async () => {
        const { servers, images, engine } = story
        await servers.setTag(server, 'snapshot:dead')
        const { wish } = await untilAt(engine, server, 'fallback')
        const status = async () => (await images.find(wish.image))?.status
        await waitFor('Glance takes the bytes', status, (now) => now === 'saving')
        await killPart('glance-internal')
        await startPart('glance-internal')
        expect(await status()).toBe('saving')
        // Twenty minutes are not waited for: as if the upload had begun before them.
        await sql(`update glance.images set updated_at = updated_at - interval 21 minute where id = '${wish.image}'`)
        expect(await engine.untilEnded(wish.image)).toMatchObject({ outcome: 'rejected', code: 'UPLOAD_DIED' })
        expect(await images.find(wish.image)).toBeNull()
        expect((await otherCeph.find(disks, `${server}_disk`))?.snaps).toEqual([])
        expect((await servers.show(server)).tags).toEqual([])
        expect(await story.leftovers()).toEqual([])
      },
    )
  })

  describe('as qcow2, with SNAPSHOTS_DIRECTORY on a disk that is full', () => {
    let directory = ''
    let story: Story
    let server = ''
    beforeAll(async () => {
      directory = mkdtempSync(join(tmpdir(), 'rbdsnap-full-'))
      await run('mount', ['-t', 'tmpfs', '-o', 'size=1m', 'tmpfs', directory])
      const settings = { RBDSNAP_UPLOAD_FORMAT: 'qcow2', RBDSNAP_SNAPSHOTS_DIRECTORY: directory }
      story = await openStory({ settings })
      server = await bootOnClone(story, 'no-room')
    })
    afterAll(async () => {
      await story.close()
      await run('umount', [directory])
      rmSync(directory, { recursive: true })
    })

    it('is turned away with words that say where there is no room, and nothing is left', within, async () => {
      const { servers, images, engine } = story
      await servers.setTag(server, 'snapshot:no-room')
      const { wish } = await engine.untilBegun(server)
      const ended = await engine.untilEnded(wish.image)
      expect(ended).toMatchObject({ outcome: 'rejected', code: 'NO_SPACE', reason: expect.stringContaining(directory) })
      expect(await images.find(wish.image)).toBeNull()
      expect((await otherCeph.find(disks, `${server}_disk`))?.snaps).toEqual([])
      expect(readdirSync(directory)).toEqual([])
      expect((await servers.show(server)).tags).toEqual([])
      expect(await story.leftovers()).toEqual([])
    })

    it('becomes an image of that format once there is room, and no file stays behind', within, async () => {
      const { servers, images, engine } = story
      await run('mount', ['-o', 'remount,size=1g', directory])
      await servers.setTag(server, 'snapshot:room')
      const { id } = await images.untilNamedActive('room')
      expect(await engine.untilEnded(id)).toMatchObject({ outcome: 'fallback' })
      expect(await images.show(id)).toMatchObject({ disk_format: 'qcow2', rbdsnap_road: 'upload' })
      expect(readdirSync(directory)).toEqual([])
      expect(await story.leftovers()).toEqual([])
    })
  })
})

/** The same disk as some cluster's age left it: without the feature that a clone needs. */
async function withoutLayering({ servers, ceph }: Story, server: string): Promise<void> {
  const disk = `${disks}/${server}_disk`
  await servers.act(server, { 'os-stop': null })
  await servers.untilStatus(server, 'SHUTOFF')
  await ceph.rbd('mv', disk, `${disk}.layered`)
  await ceph.rbd('cp', '--no-progress', '--image-feature', 'exclusive-lock', `${disk}.layered`, disk)
  await ceph.rbd('rm', '--no-progress', `${disk}.layered`)
  await servers.act(server, { 'os-start': null })
  await servers.untilStatus(server, 'ACTIVE')
  await servers.untilConsoleSays(server, guestWrites)
}
