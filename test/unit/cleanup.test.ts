import { describe, expect, it } from 'vitest'
import { cleanup } from '../../functions/cleanup.ts'
import { Failure, type FailureCode } from '../../shared/failures.ts'
import type { Server } from '../../shared/ports/compute.ts'
import type { Image } from '../../shared/ports/images.ts'
import type { RbdState } from '../../shared/ports/volumes.ts'
import { show } from '../../shared/names.ts'
import {
  context,
  disk,
  due,
  gib,
  image,
  instance,
  nowMs,
  portsOf,
  server,
  snapped,
  source,
  state,
  tagWish,
  takeOverWish,
  yes,
} from './given.ts'

interface Situation {
  wish?: typeof tagWish
  server?: Server | null
  image?: Image | null
  disk?: RbdState | null
  /** what Glance says to the properties, and to the protection */
  answers?: () => Promise<void>
  road?: 'clone' | 'copy' | 'upload'
  why?: string[]
  sinceMs?: number
}

function inSituation(given: Situation = {}) {
  const written: Record<string, string>[] = []
  const made = image({ status: 'active', isProtected: true })
  const { ports, calls } = portsOf({
    compute: { find: async () => (given.server === undefined ? server() : given.server), ensureTagAbsent: yes },
    images: {
      find: async () => (given.image === undefined ? made : given.image),
      setProperties: given.answers ?? (async (_id, properties) => void written.push(properties)),
      setProtected: given.answers ?? yes,
    },
    home: { ensureSnapshotAbsent: yes, ensureAbsent: yes, find: async () => given.disk ?? null },
  })
  const { wish = tagWish, road = 'clone', why = [] } = given
  const run = due<'cleanup'>({ step: 'cleanup', ...snapped, wish, road, why, usableMs: 900 }, given.sinceMs)
  return { act: () => cleanup(run, ports, context()), calls, written }
}
const lift = `glance.setProtected ${tagWish.image} false`
const ended = (outcome: string, reason: string | null = null) => ({ is: 'ended', outcome, failure: null, reason })

describe('clean-up', () => {
  it('drops the source snapshot, writes the verdict on the image, and takes the tag off last', async () => {
    const { act, calls, written } = inSituation()
    expect(await act()).toEqual(ended('active'))
    expect(calls[0]).toBe(`ceph.ensureSnapshotAbsent ${show(source)}`)
    expect(calls.at(-1)).toBe(`nova.ensureTagAbsent ${instance} snapshot:before-upgrade`)
    expect(written).toEqual([
      expect.objectContaining({ rbdsnap_consistency: 'crash', rbdsnap_road: 'clone', rbdsnap_usable_ms: '900' }),
    ])
  })

  it.each(['copy', 'upload'] as const)('says that a run by %s was a fallback, and why', async (road) => {
    const { act } = inSituation({ road, why: ['CLONE_REFUSED: no layering'] })
    expect(await act()).toEqual(ended('fallback', 'CLONE_REFUSED: no layering'))
  })

  it('writes nothing on an image that is not of this run', async () => {
    const { act, written } = inSituation({ image: image({ properties: { rbdsnap_run: 'another' } }) })
    expect(await act()).toEqual(ended('active'))
    expect(written).toEqual([])
  })

  it('says so when the owner has deleted the image meanwhile', async () => {
    expect(await inSituation({ image: null }).act()).toEqual(
      ended('active', 'the image was deleted by its owner since'),
    )
  })

  it('says the same when it is deleted just before the verdict is written, and fails on any other answer', async () => {
    const saying = (code: FailureCode) => async () => {
      throw new Failure(code, 'x')
    }
    expect(await inSituation({ answers: saying('IMAGE_GONE') }).act()).toEqual(
      ended('active', 'the image was deleted by its owner since'),
    )
    await expect(inSituation({ answers: saying('GLANCE_UNREACHABLE') }).act()).rejects.toMatchObject({
      code: 'GLANCE_UNREACHABLE',
    })
  })
})

describe('clean-up of a take-over', () => {
  it('lifts the protection when Nova is no longer at work, and leaves the tags alone', async () => {
    const { act, calls } = inSituation({ wish: takeOverWish })
    expect(await act()).toEqual(ended('active'))
    expect(calls).toContain(lift)
    expect(calls.filter((call) => call.includes('Tag'))).toEqual([])
  })

  it('keeps it while Nova is at work: its failure would delete the image', async () => {
    const { act, calls } = inSituation({ wish: takeOverWish, server: server({ taskState: 'image_uploading' }) })
    expect(await act()).toEqual({ is: 'waiting', inMs: 2_000 })
    expect(calls).not.toContain(lift)
  })

  it('keeps it when the owner had set it himself', async () => {
    const own = image({
      status: 'active',
      isProtected: true,
      properties: { rbdsnap_run: tagWish.run, rbdsnap_owner_protected: 'true' },
    })
    const { act, calls } = inSituation({ wish: takeOverWish, image: own })
    expect(await act()).toEqual(ended('active'))
    expect(calls).not.toContain(lift)
  })

  it('keeps it for half an hour after the instance is gone: Nova may still be at work, seen by nobody', async () => {
    const early = inSituation({ wish: takeOverWish, server: null, sinceMs: nowMs - 1_799_999 })
    expect(await early.act()).toEqual({ is: 'waiting', inMs: 30_000 })
    expect(early.calls).not.toContain(lift)
    const late = inSituation({ wish: takeOverWish, server: null, sinceMs: nowMs - 1_800_000 })
    expect(await late.act()).toEqual(ended('active'))
    expect(late.calls).toContain(lift)
  })
})

describe('clean-up after the instance was deleted', () => {
  const removal = `ceph.ensureAbsent ${show({ pool: disk.pool, image: disk.image })} none`

  it('removes the disk that Nova gave up because of us, and says so', async () => {
    const { act, calls } = inSituation({ server: null, disk: state() })
    expect(await act()).toEqual(
      ended(
        'active',
        `the instance was deleted meanwhile and Nova had left vms/${instance}_disk behind; it was removed`,
      ),
    )
    expect(calls).toContain(removal)
  })

  it.each<[string, Situation]>([
    ['Nova knows the instance', { disk: state() }],
    ['there is none', { server: null }],
    [
      'somebody has a snapshot on it',
      { server: null, disk: state({ snaps: [{ name: 'theirs', isProtected: false, children: [], isUsed: false }] }) },
    ],
    ['it is not the one that was snapshotted', { server: null, disk: state({ sizeBytes: 2 * gib }) }],
  ])('removes no disk when %s', async (_when, situation) => {
    const { act, calls } = inSituation(situation)
    expect(await act()).toMatchObject({ is: 'ended', reason: null })
    expect(calls).not.toContain(removal)
  })

  it('takes off no tag', async () => {
    const { act, calls } = inSituation({ server: null })
    await act()
    expect(calls.filter((call) => call.includes('Tag'))).toEqual([])
  })

  it.each(['shelved_offloaded', 'error'])(
    'waits with the tag of a server that is %s: Nova does not let it go, and it would be heard again',
    async (vmState) => {
      const { act, calls } = inSituation({ server: server({ vmState, tags: ['snapshot:before-upgrade'] }) })
      expect(await act()).toEqual({ is: 'waiting', inMs: 30_000 })
      expect(calls.filter((call) => call.includes('Tag'))).toEqual([])
    },
  )

  it('waits for no tag that is not there any more', async () => {
    const { act } = inSituation({ server: server({ vmState: 'shelved_offloaded', tags: [] }) })
    expect(await act()).toEqual(ended('active'))
  })
})
