import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { evidenceOf } from '../../infra/lab/guest.ts'
import type { RunRecord } from '../../shared/ports/journal.ts'
import type { Wish } from '../../shared/run.ts'
import { hashOf } from './support/bytes.ts'
import { guestIsUp, guestWrites, heartbeatFound } from './support/console.ts'
import { bootOnClone } from './support/disks.ts'
import { untilAt } from './support/held.ts'
import { openStory, type Story } from './support/story.ts'
import { waitFor } from './support/wait.ts'

/**
 * Life goes on while an image still hangs on the disk that it was cloned from: people delete the server, give it another size or
 * another image, put it away, or delete the image. Each gets what he asked for, the image that stays is whole, and no disk and
 * no snapshot is left that nobody knows.
 */
const within = { timeout: 300_000 }
let story: Story
beforeAll(async () => {
  story = await openStory({ settings: { RBDSNAP_FLATTENS_AT_ONCE: '1' }, isDelayable: true })
})
afterAll(() => story.close())

describe('a server that is deleted', () => {
  it('while its image waits to be flattened: the flatten goes first, and Nova removes the disk', within, async () => {
    const server = await bootOnClone(story, 'deleted-waiting')
    const { run, before } = await withFlattenWaiting(server, 'waiting', async () => {
      await story.servers.delete(server)
    })
    await expectWhole(run.wish.image, before)
    await expectNoDisk(server)
  })

  it('while its image is flattened', within, async () => {
    const { servers, engine } = story
    const server = await bootOnClone(story, 'deleted-flattening')
    await servers.setTag(server, 'snapshot:flattening')
    const { wish } = await untilAt(engine, server, 'flatten', 'cleanup')
    await story.servers.delete(server)
    const run = await engine.untilEnded(wish.image, 180_000)
    expect(run.outcome).toBe('active')
    await expectWhole(run.wish.image)
    await expectNoDisk(server)
  })

  it.each(['quiesce', 'snapshot', 'clone'] as const)(
    'just before the clone, when %s is next: an image that is whole, or none',
    within,
    async (step) => {
      const { servers, engine, images } = story
      const server = await bootOnClone(story, `deleted-before-${step}`)
      engine.delayUpTo(1_500)
      await servers.setTag(server, `snapshot:${step}`)
      const { wish } = await untilAt(engine, server, step, 'clone', 'register', 'flatten', 'unwind')
      await story.servers.delete(server)
      engine.delayUpTo(0)
      const run = await engine.untilEnded(wish.image, 180_000)
      if (run.outcome === 'active') await expectWhole(run.wish.image)
      else {
        expect(run).toMatchObject({ outcome: 'rejected', code: 'INSTANCE_GONE' })
        expect(await images.find(wish.image)).toBeNull()
      }
      await expectNoDisk(server)
    },
  )
})

describe('a server that lives on otherwise, while its image waits to be flattened', () => {
  it('gets another size', within, async () => {
    const { servers, ceph, lab } = story
    const server = await bootOnClone(story, 'resized')
    const { run, before } = await withFlattenWaiting(server, 'resized', async () => {
      await servers.act(server, { resize: { flavorRef: 'lab.2' } })
      await servers.untilStatus(server, 'VERIFY_RESIZE', 180_000)
      await servers.act(server, { confirmResize: null })
      await servers.untilStatus(server, 'ACTIVE')
    })
    await expectWhole(run.wish.image, before)
    const disk = await ceph.find(lab.ceph.pools.disks, `${server}_disk`)
    expect(disk).toMatchObject({ sizeBytes: 2 * 1024 ** 3, snaps: [] })
    await servers.delete(server)
  })

  it('is rebuilt: the flatten goes first, and Nova makes its disk anew', within, async () => {
    const { servers, lab, ceph } = story
    const server = await bootOnClone(story, 'rebuilt')
    const { run, before } = await withFlattenWaiting(server, 'rebuilt', async () => {
      await servers.act(server, { rebuild: { imageRef: lab.images.agent } })
      await servers.untilStatus(server, 'ACTIVE', 180_000)
    })
    await expectWhole(run.wish.image, before)
    expect(heartbeatFound(await servers.untilConsoleSays(server, guestIsUp))).toBe(0)
    expect((await ceph.find(lab.ceph.pools.disks, `${server}_disk`))?.snaps).toEqual([])
    await servers.delete(server)
  })

  it(
    'is shelved and comes back: the flatten goes first, Nova removes its disk, and the tag goes when Nova lets it',
    within,
    async () => {
      const { servers, engine, ceph, images, lab } = story
      const server = await bootOnClone(story, 'shelved')
      const { wish, before, givePlace } = await flattenWaiting(server, 'shelved')
      await servers.act(server, { shelve: null })
      await waitFor(
        'it is put away',
        () => servers.show(server),
        (seen) => seen.status === 'SHELVED_OFFLOADED' && seen['OS-EXT-STS:task_state'] === null,
        180_000,
      )
      await givePlace()
      expect(await ceph.find(lab.ceph.pools.disks, `${server}_disk`)).toBeNull()
      await expectWhole(wish.image, before)
      // Nova changes no tags of a server that is put away
      expect((await servers.show(server)).tags).toEqual(['snapshot:shelved'])
      await servers.act(server, { unshelve: null })
      await servers.untilStatus(server, 'ACTIVE', 180_000)
      await servers.untilConsoleSays(server, guestWrites)
      expect(await engine.untilEnded(wish.image, 120_000)).toMatchObject({ outcome: 'active' })
      expect((await servers.show(server)).tags).toEqual([])
      expect(await images.named('shelved')).toHaveLength(1)
      await servers.delete(server)
      for (const shelved of await images.named('shelved-shelved')) await images.delete(shelved.id)
    },
  )
})

describe('an image that its owner deletes', () => {
  it('while it waits to be flattened: the run ends, and nothing is left', within, async () => {
    const { servers, images } = story
    const server = await bootOnClone(story, 'image-deleted')
    const { run } = await withFlattenWaiting(server, 'unwanted', async (wish) => {
      await images.delete(wish.image)
    })
    expect(run.reason).toContain('the image was deleted by its owner')
    await expectNothingOf(run)
    await servers.delete(server)
  })

  it('as soon as it is active: Glance deletes it at last, and nothing is left', within, async () => {
    const { servers, images, engine } = story
    const server = await bootOnClone(story, 'image-deleted-soon')
    await servers.setTag(server, 'snapshot:regretted')
    const { id } = await images.untilNamedActive('regretted')
    await waitFor(
      'Glance deletes it',
      () =>
        images.delete(id).then(
          () => true,
          () => false,
        ),
      (isDeleted) => isDeleted,
    )
    await expectNothingOf(await engine.untilEnded(id, 180_000))
    await servers.delete(server)
  })
})

/** An active image that hangs on the server's disk still, because somebody else has the only place to flatten in. */
async function flattenWaiting(server: string, name: string) {
  const { servers, engine, images, ceph, lab } = story
  const now = Date.now()
  const place = await engine.leases.take('flatten/0', 'somebody-else', now, now + 3_600_000)
  if (!place) throw new Error('the only place to flatten in is taken')
  const givePlace = () => engine.leases.save({ ...place, holder: null })
  await servers.setTag(server, `snapshot:${name}`)
  const { id } = await images.untilNamedActive(name)
  const begun = await untilAt(engine, server, 'flatten')
  expect((await ceph.find(lab.ceph.pools.images, id))?.parent).not.toBeNull()
  const before = await hashOf(lab.ceph.conf, `${lab.ceph.pools.images}/${id}@snap`)
  return { wish: begun.wish, before, givePlace }
}

/** The run ends after `work`, however long that lasts. */
async function withFlattenWaiting(
  server: string,
  name: string,
  work: (wish: Wish) => Promise<void>,
): Promise<{ run: RunRecord; before: string }> {
  const { wish, before, givePlace } = await flattenWaiting(server, name)
  await work(wish).finally(givePlace)
  const run = await story.engine.untilEnded(wish.image, 180_000)
  expect(run).toMatchObject({ outcome: 'active' })
  return { run, before }
}

async function expectWhole(image: string, hash?: string): Promise<void> {
  const { lab, ceph, images } = story
  const { images: pool } = lab.ceph.pools
  expect(await images.show(image)).toMatchObject({ status: 'active', size: 1024 ** 3 })
  expect((await ceph.find(pool, image))?.parent).toBeNull()
  const snap = `${pool}/${image}@snap`
  if (hash !== undefined) expect(await hashOf(lab.ceph.conf, snap)).toBe(hash)
  expect((await evidenceOf(snap, lab.ceph.conf)).synced).toBeGreaterThan(0)
}

async function expectNoDisk(server: string): Promise<void> {
  const { lab, ceph } = story
  expect(await story.leftovers()).toEqual([])
  expect(await ceph.find(lab.ceph.pools.disks, `${server}_disk`)).toBeNull()
}

async function expectNothingOf({ wish }: RunRecord): Promise<void> {
  const { lab, ceph, images } = story
  expect(await images.find(wish.image)).toBeNull()
  expect(await ceph.find(lab.ceph.pools.images, wish.image)).toBeNull()
  expect((await ceph.find(lab.ceph.pools.disks, `${wish.instance}_disk`))?.snaps).toEqual([])
  expect(await story.leftovers()).toEqual([])
}
