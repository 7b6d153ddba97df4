import { describe, expect, it } from 'vitest'
import { ensureRecord, recordOf, verdictProperties } from '../../shared/image-record.ts'
import type { Image, ImageRecord } from '../../shared/ports/images.ts'
import {
  base,
  consistency,
  context,
  gone,
  image,
  instance,
  portsOf,
  project,
  server,
  tagWish,
  takeOverWish,
} from './given.ts'

describe("a snapshot's record", () => {
  it("is the instance's project's, under the wish's id and name, as large as the flavor's disk", () => {
    expect(recordOf(tagWish, server({ rootGib: 20 }), null)).toMatchObject({
      id: tagWish.image,
      name: 'before-upgrade',
      owner: project,
      minDiskGib: 20,
    })
  })

  it('says what Nova says on a snapshot, and whose run it is', () => {
    expect(recordOf(tagWish, server(), null).properties).toEqual({
      image_type: 'snapshot',
      instance_uuid: instance,
      user_id: 'fb4f27fdd2d24feb9a89e4ba3b19baa7',
      base_image_ref: base,
      rbdsnap_run: tagWish.run,
    })
  })

  it('names the policy that made it', () => {
    const trigger = { is: 'policy', action: 'power_off', atMs: 1 } as const
    expect(recordOf({ ...tagWish, trigger }, server(), null).properties).toMatchObject({ rbdsnap_policy: 'power_off' })
    expect(recordOf(tagWish, server(), null).properties).not.toHaveProperty('rbdsnap_policy')
  })

  it('names no base image when there is none', () => {
    expect(recordOf(tagWish, server({ baseImage: null }), null).properties).not.toHaveProperty('base_image_ref')
  })

  it("inherits the base image's properties, but not those of its own bytes, owner, upload or run", () => {
    const properties = {
      hw_disk_bus: 'virtio',
      os_require_quiesce: 'yes',
      img_signature: 'x',
      img_signature_hash_method: 'x',
      cache_in_nova: 'True',
      bittorrent: 'x',
      os_hash_value: 'x',
      os_glance_import_task: 'x',
      'owner_specified.openstack.md5': 'x',
      rbdsnap_run: 'another run',
      instance_uuid: 'another instance',
      image_type: 'base',
      owner_project_name: 'x',
      direct_url: 'x',
    }
    const made = recordOf(tagWish, server(), image({ properties })).properties
    expect(made).toMatchObject({ hw_disk_bus: 'virtio', os_require_quiesce: 'yes' })
    expect(made).toMatchObject({ rbdsnap_run: tagWish.run, instance_uuid: instance, image_type: 'snapshot' })
    expect(Object.keys(made)).toHaveLength(7)
  })

  const record = (asked: ImageRecord[], found = server(), there: Image | null = null) =>
    portsOf({
      compute: { find: async () => found },
      images: {
        find: async (id) => (id === tagWish.image ? there : image({ id, properties: { hw_disk_bus: 'scsi' } })),
        ensureQueued: async (r) => void asked.push(r),
      },
    })

  it('is made for a tag, with what the base image hands on', async () => {
    const asked: ImageRecord[] = []
    await ensureRecord(tagWish, record(asked).ports, context())
    expect(asked[0]?.properties).toMatchObject({ hw_disk_bus: 'scsi' })
  })

  it('is made without asking for a base image that there is not', async () => {
    const { ports, calls } = record([], server({ baseImage: null }))
    await ensureRecord(tagWish, ports, context())
    expect(calls).toEqual([`glance.find ${tagWish.image}`, `nova.find ${instance}`, 'glance.ensureQueued'])
  })

  it('is not made again by the next step that needs it', async () => {
    const { ports, calls } = record([], server(), image())
    await ensureRecord(tagWish, ports, context())
    expect(calls).toEqual([`glance.find ${tagWish.image}`])
  })

  it.each<[string, Partial<Image>]>([
    ['another run', { properties: { rbdsnap_run: 'another' } }],
    ['another project', { owner: 'another' }],
  ])('of %s is not taken for it: Glance is asked, and says whose it is', async (_whose, more) => {
    const { ports, calls } = record([], server(), image(more))
    await ensureRecord(tagWish, ports, context())
    expect(calls).toContain('glance.ensureQueued')
  })

  it("is left alone in a take-over: it is Nova's, and was claimed", async () => {
    const { ports, calls } = portsOf({})
    await ensureRecord(takeOverWish, ports, context())
    expect(calls).toEqual([])
  })

  it('is not made for an instance that is gone', async () => {
    const { ports } = portsOf({ compute: { find: gone }, images: { find: gone } })
    await expect(ensureRecord(tagWish, ports, context())).rejects.toMatchObject({ code: 'INSTANCE_GONE' })
  })
})

describe('the verdict on an image', () => {
  it('is told in texts, with its reason and its times in whole milliseconds', () => {
    const frozen = {
      verdict: 'filesystem',
      why: 'the guest was frozen before and after the snapshot',
      frozenMs: 412.6,
    } as const
    expect(verdictProperties(frozen, { road: 'clone', usableMs: 1_099.5, why: [] })).toEqual({
      rbdsnap_consistency: 'filesystem',
      rbdsnap_consistency_reason: 'the guest was frozen before and after the snapshot',
      rbdsnap_frozen_ms: '413',
      rbdsnap_usable_ms: '1100',
      rbdsnap_road: 'clone',
    })
  })

  it('says each step down the ladder, as far as Glance takes it', () => {
    const made = verdictProperties(consistency, {
      road: 'upload',
      usableMs: 1,
      why: ['CLONE_REFUSED: a', `COPY_REFUSED: ${'b'.repeat(300)}`],
    })
    expect(made['rbdsnap_reason']).toMatch(/^CLONE_REFUSED: a; COPY_REFUSED: b+$/)
    expect(made['rbdsnap_reason']).toHaveLength(255)
    expect(made).not.toHaveProperty('rbdsnap_frozen_ms')
  })
})
