import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { bootOnClone, bootOnOrphanedFlatDisk } from './support/disks.ts'
import { dataOf } from './support/heartbeat.ts'
import type { Image } from './support/images.ts'
import { openStory, type Story } from './support/story.ts'

/**
 * A tenant types `openstack server image create SERVER`, as he always did. Nova sets out to fill the image that it queued, and so
 * do we; whoever comes first, the tenant has one active image, whole, his own to delete, and nothing else is left.
 */
let story: Story
beforeAll(async () => {
  story = await openStory({ isDelayable: true })
})
afterAll(() => story.close())

/** From none to longer than Nova needs for its direct snapshot: whatever can overtake whatever does. */
const delaysMs = Array.from({ length: 10 }, (_, nth) => nth * 400)
const within = { timeout: 240_000 }

describe('createImage where Nova must take the long way: a flat disk whose base image is gone', () => {
  let server = ''
  beforeAll(async () => {
    server = await bootOnOrphanedFlatDisk(story, 'long-way')
  })
  afterEach(() => story.engine.delayUpTo(0))

  it('is taken over: active while Nova still converts, and Nova failing later changes nothing', within, async () => {
    const { servers, images, engine } = story
    const id = await servers.createImage(server, 'at-once')
    await images.untilActive(id)
    expect((await servers.show(server))['OS-EXT-STS:task_state']).not.toBeNull()
    await servers.untilIdle(server, 180_000)
    expect(await engine.untilEnded(id)).toMatchObject({ outcome: 'active', reason: null })
    const image = await wholeImage(id)
    expect(image).toMatchObject({ rbdsnap_road: 'clone', protected: false, owner: story.tenant.projectId })
    const copy = await story.boot('at-once-again', id)
    await servers.untilConsoleSays(copy, /LAB-GUEST booted .*previous heartbeat: \d+/)
    await servers.delete(copy)
    await images.delete(id)
    expect(await story.leftovers()).toEqual([])
  })

  it.each(delaysMs)('ends in one whole image with our steps held back by up to %i ms each', within, async (ms) => {
    const { servers, images, engine } = story
    engine.delayUpTo(ms)
    const id = await servers.createImage(server, `long-way-${ms}`)
    await images.untilActive(id, 180_000)
    await servers.untilIdle(server, 180_000)
    expect(['active', 'nova-did-it']).toContain((await engine.untilEnded(id)).outcome)
    await wholeImage(id)
    await images.delete(id)
    expect(await story.leftovers()).toEqual([])
  })
})

describe('createImage where Nova goes direct: a clone disk', () => {
  let server = ''
  beforeAll(async () => {
    server = await bootOnClone(story, 'direct')
  })
  afterEach(() => story.engine.delayUpTo(0))

  it.each(delaysMs)('ends in one whole image with our steps held back by up to %i ms each', within, async (ms) => {
    const { servers, images, engine } = story
    engine.delayUpTo(ms)
    const id = await servers.createImage(server, `direct-${ms}`)
    await images.untilActive(id, 180_000)
    await servers.untilIdle(server, 180_000)
    const { outcome } = await engine.untilEnded(id)
    expect(['active', 'nova-did-it']).toContain(outcome)
    const image = await wholeImage(id)
    if (outcome === 'nova-did-it') expect(Object.keys(image).filter((name) => name.startsWith('rbdsnap_'))).toEqual([])
    await images.delete(id)
    expect(await story.leftovers()).toEqual([])
  })
})

/** Active, not protected by us, one location, and the guest's own data can be read in it. */
async function wholeImage(id: string): Promise<Image> {
  const { lab, ceph, admin } = story
  const image = await admin.images.show(id)
  expect(image).toMatchObject({ status: 'active', protected: false, owner: story.tenant.projectId })
  expect(image.locations).toHaveLength(1)
  const { images: pool } = lab.ceph.pools
  const volume = await ceph.find(pool, id)
  expect(volume).toMatchObject({ sizeBytes: image.size, parent: null, snaps: [{ name: 'snap', isProtected: true }] })
  expect((await dataOf(lab, `${pool}/${id}@snap`)).heartbeat).toBeGreaterThan(0)
  return image
}
