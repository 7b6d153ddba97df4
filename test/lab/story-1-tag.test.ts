import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { evidenceOf } from '../../infra/lab/guest.ts'
import { guestIsUp, heartbeatFound } from './support/console.ts'
import { bootOnClone, bootOnFlatDisk } from './support/disks.ts'
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
  it('becomes an image of that name, of one instant, from which a server boots', { timeout: 600_000 }, async () => {
    const { lab, servers, images, engine, tenant } = story
    const { conf, pools } = lab.ceph
    const name = `before-upgrade-${disk}`
    const server = await boot(story, `worker-${disk}`)
    const source = `${pools.disks}/${server}_disk`
    const before = await evidenceOf(source, conf)

    await servers.setTag(server, `snapshot:${name}`)
    const { id, ...image } = await images.untilNamedActive(name)
    const after = await evidenceOf(source, conf)
    expect(image).toMatchObject({ owner: tenant.projectId, visibility: 'private', instance_uuid: server })

    expect(await engine.untilEnded(id)).toMatchObject({ outcome: 'active', reason: null })
    const kept = await evidenceOf(`${pools.images}/${id}@snap`, conf)
    expect(kept.isConsistent).toBe(true)
    expect(kept.synced).toBeGreaterThanOrEqual(before.synced)
    expect(kept.synced).toBeLessThanOrEqual(after.synced)
    expect(await images.show(id)).toMatchObject({
      rbdsnap_consistency: 'filesystem',
      rbdsnap_frozen_ms: expect.stringMatching(/^\d+$/),
      rbdsnap_road: 'clone',
    })

    const copy = await story.boot(`${name}-again`, id)
    expect(heartbeatFound(await servers.untilConsoleSays(copy, guestIsUp))).toBe(kept.synced)

    expect((await servers.show(server)).tags).toEqual([])
    expect((await story.ceph.find(pools.disks, `${server}_disk`))?.snaps).toEqual([])
    expect((await story.ceph.find(pools.images, id))?.parent).toBeNull()
    expect(await story.leftovers()).toEqual([])
  })
})
