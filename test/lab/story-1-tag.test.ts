import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { bootOnClone, bootOnFlatDisk } from './support/disks.ts'
import { dataOf, heartbeatFound } from './support/heartbeat.ts'
import { openStory, type Story } from './support/story.ts'

/**
 * A tenant types `openstack server set --tag snapshot:NAME SERVER`, and a second or two later has an image of that name: of the
 * instant at which his guest stood still, bootable, his own.
 */
let story: Story
beforeAll(async () => {
  story = await openStory()
})
afterAll(() => story.close())

describe.each([
  { disk: 'clone', boot: bootOnClone },
  { disk: 'flat', boot: bootOnFlatDisk },
])('a server on a $disk disk that is tagged snapshot:NAME', ({ disk, boot }) => {
  it('becomes an image of that name, of one instant, from which a server boots', async () => {
    const { lab, servers, images, engine, tenant } = story
    const { disks, images: pool } = lab.ceph.pools
    const name = `before-upgrade-${disk}`
    const server = await boot(story, `worker-${disk}`)
    const before = await dataOf(lab, `${disks}/${server}_disk`)

    await servers.setTag(server, `snapshot:${name}`)
    const image = await images.untilNamedActive(name)
    const after = await dataOf(lab, `${disks}/${server}_disk`)
    expect(image).toMatchObject({ owner: tenant.projectId, visibility: 'private', instance_uuid: server })

    const run = await engine.untilEnded(image.id)
    expect(run).toMatchObject({ outcome: 'active', reason: null })
    const kept = await dataOf(lab, `${pool}/${image.id}@snap`)
    expect(kept.heartbeat).toBeGreaterThanOrEqual(before.heartbeat)
    expect(kept.heartbeat).toBeLessThanOrEqual(after.heartbeat)

    const copy = await story.boot(`${name}-again`, image.id)
    const found = heartbeatFound(await servers.untilConsoleSays(copy, /LAB-GUEST booted/))
    expect(found).toBe(kept.heartbeat)

    expect.soft(await images.show(image.id)).toMatchObject({
      rbdsnap_consistency: 'filesystem',
      rbdsnap_frozen_ms: expect.stringMatching(/^\d+$/),
      rbdsnap_road: 'clone',
    })
    expect.soft(kept.isClean).toBe(true)
    expect((await servers.show(server)).tags).toEqual([])
    expect((await story.ceph.find(disks, `${server}_disk`))?.snaps).toEqual([])
    expect((await story.ceph.find(pool, image.id))?.parent).toBeNull()
    expect(await story.leftovers()).toEqual([])
  })
})
