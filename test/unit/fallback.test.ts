import { describe, expect, it } from 'vitest'
import { fallback } from '../../functions/fallback.ts'
import { Failure } from '../../shared/failures.ts'
import { show } from '../../shared/names.ts'
import type { Server } from '../../shared/ports/compute.ts'
import type { Image } from '../../shared/ports/images.ts'
import type { Progress, RbdState } from '../../shared/ports/volumes.ts'
import {
  context,
  disk,
  due,
  gib,
  image,
  nowMs,
  portsOf,
  server,
  snapped,
  source,
  state,
  tagWish,
  takeOverWish,
  volume,
  yes,
} from './given.ts'

interface Situation {
  rung?: 'clear' | 'copy' | 'upload'
  wish?: typeof tagWish
  copy?: () => Promise<Progress>
  image?: Image | null
  volume?: RbdState | null
  server?: Server | null
  sent?: number
  cluster?: string
  sinceMs?: number
}
const temporary = `images/rbdsnap-${tagWish.run}-copy`
const why = ['CLONE_REFUSED: no layering']

function inSituation(given: Situation) {
  const { ports, calls } = portsOf({
    compute: { find: async () => (given.server === undefined ? server({ baseImage: null }) : given.server) },
    images: {
      find: async () => given.image ?? null,
      ensureQueued: yes,
      setProperties: yes,
      upload: async () => ({ sizeBytes: given.sent ?? gib, md5: 'd41d8cd98f00b204e9800998ecf8427e' }),
    },
    home: {
      ensureCopy: given.copy ?? (async () => ({ is: 'done' })),
      ensureSnapshot: yes,
      ensureProtected: yes,
      ensureAbsent: yes,
      find: async () => given.volume ?? null,
    },
    reader: { read: () => new ReadableStream<Uint8Array>() },
  })
  const { wish = tagWish, rung = 'copy', cluster = disk.cluster } = given
  const run = due<'fallback'>(
    { step: 'fallback', ...snapped, wish, why, rung, disk: { ...disk, cluster } },
    given.sinceMs,
  )
  return { act: () => fallback(run, ports, context()), calls }
}

describe('the way to a copy', () => {
  it('begins with an empty name: a clone left half made would be taken for a finished copy', async () => {
    const { act, calls } = inSituation({ rung: 'clear', volume: state() })
    expect(await act()).toEqual({ is: 'done', next: { step: 'fallback', ...snapped, why, rung: 'copy' } })
    expect(calls.slice(-1)).toEqual([`ceph.ensureAbsent ${show(volume)} snap`])
  })

  it('is closed while something that is not ours has the name', async () => {
    const { act } = inSituation({ rung: 'clear', volume: state({ parent: { ...source, snap: 'theirs' } }) })
    await expect(act()).rejects.toMatchObject({ code: 'NAME_TAKEN' })
  })
})

describe('the copy inside Ceph', () => {
  it('goes by a temporary name to the image’s, gets its protected snapshot, and is registered as a copy', async () => {
    const { act, calls } = inSituation({})
    expect(await act()).toEqual({ is: 'done', next: { step: 'register', ...snapped, why, road: 'copy' } })
    expect(calls).toEqual([
      `ceph.ensureCopy ${show(source)} ${temporary} ${show(volume)}`,
      `ceph.ensureSnapshot ${show(volume)}@snap`,
      `ceph.ensureProtected ${show(volume)}@snap`,
    ])
  })

  it('is waited for with its progress', async () => {
    const { act, calls } = inSituation({ copy: async () => ({ is: 'running', fraction: 0.25 }) })
    expect(await act()).toEqual({ is: 'waiting', inMs: 2_000, fraction: 0.25 })
    expect(calls).toHaveLength(1)
  })

  it('that Ceph refuses is one rung down the ladder, with its reason behind the others', async () => {
    const copy = async () => {
      throw new Failure('COPY_REFUSED', 'no rights on images.')
    }
    expect(await inSituation({ copy }).act()).toMatchObject({
      is: 'done',
      next: { step: 'fallback', rung: 'upload', why: [...why, 'COPY_REFUSED: no rights on images.'] },
    })
  })

  it.each(['CEPH_UNREACHABLE', 'POOL_FULL', 'NAME_TAKEN'] as const)(
    'that fails with %s is not a reason to go down',
    async (code) => {
      const copy = async () => {
        throw new Failure(code, 'x')
      }
      await expect(inSituation({ copy }).act()).rejects.toMatchObject({ code })
    },
  )
})

describe('the upload', () => {
  const uploaded = (sizeBytes = gib, run = tagWish.run) =>
    image({ status: 'active', sizeBytes, properties: { rbdsnap_run: run, rbdsnap_road: 'upload' } })

  it('makes room, then the record, streams the snapshot, and goes on to clean up', async () => {
    const { act, calls } = inSituation({ rung: 'upload' })
    const usableMs = nowMs - tagWish.requestedAtMs
    expect(await act()).toEqual({ is: 'done', next: { step: 'cleanup', ...snapped, why, road: 'upload', usableMs } })
    expect(calls.map((call) => call.split(' ')[0])).toEqual([
      'glance.find',
      'ceph.ensureAbsent',
      'ceph.find',
      'ceph.ensureAbsent',
      'glance.find',
      'nova.find',
      'glance.ensureQueued',
      'glance.setProperties',
      'reader.read',
      'glance.upload',
    ])
  })

  it('reads from the cluster that the disk is in', async () => {
    const { act, calls } = inSituation({ rung: 'upload', cluster: 'west' })
    await act()
    expect(calls).toContain(`reader.read west ${show(source)}`)
  })

  it('that another delivery is at is waited for', async () => {
    const { act, calls } = inSituation({ rung: 'upload', image: image({ status: 'saving' }) })
    expect(await act()).toEqual({ is: 'waiting', inMs: 5_000 })
    expect(calls).toEqual([`glance.find ${tagWish.image}`])
  })

  it('that nobody of ours can be at any more ends the run: Glance died in it, and takes no other', async () => {
    const saving = image({ status: 'saving', updatedAtMs: nowMs - 1_200_001 })
    const { act } = inSituation({ rung: 'upload', image: saving })
    await expect(act()).rejects.toMatchObject({ code: 'UPLOAD_DIED', kind: 'reject' })
  })

  it('that may be one of Nova, in a take-over, is waited for however long it takes', async () => {
    const saving = image({ status: 'saving', updatedAtMs: nowMs - 36_000_000 })
    const { act } = inSituation({
      rung: 'upload',
      wish: takeOverWish,
      image: saving,
      server: server({ taskState: 'image_uploading' }),
    })
    expect(await act()).toEqual({ is: 'waiting', inMs: 5_000 })
  })

  it('that an earlier delivery finished is not done again', async () => {
    const { act, calls } = inSituation({ rung: 'upload', image: uploaded() })
    expect(await act()).toMatchObject({ is: 'done', next: { step: 'cleanup', road: 'upload' } })
    expect(calls).toEqual([`glance.find ${tagWish.image}`])
  })

  it.each<[string, Situation, string]>([
    ['an earlier one has another size than the disk', { image: uploaded(gib - 1) }, 'ANSWER_UNREADABLE'],
    ['it has another size than the disk', { sent: gib - 1 }, 'ANSWER_UNREADABLE'],
    ['the image is active and of another run', { image: uploaded(gib, 'another') }, 'NAME_TAKEN'],
  ])('is parked when %s', async (_what, situation, code) => {
    await expect(inSituation({ rung: 'upload', ...situation }).act()).rejects.toMatchObject({ code, kind: 'park' })
  })

  it.each<[string, RbdState]>([
    ['a clone of our own snapshot', state({ parent: source })],
    ['a copy', state()],
  ])('removes what an earlier rung left under the name: %s', async (_what, left) => {
    const { act, calls } = inSituation({ rung: 'upload', volume: left })
    await act()
    expect(calls).toContain(`ceph.ensureAbsent ${show(volume)} snap`)
    expect(calls).toContain(`ceph.ensureAbsent ${temporary} none`)
  })

  it('removes what does not open, and so reads as absent, unless the name may be Nova’s', async () => {
    const byTag = inSituation({ rung: 'upload', volume: null })
    await byTag.act()
    expect(byTag.calls).toContain(`ceph.ensureAbsent ${show(volume)} snap`)
    const byTakeOver = inSituation({ rung: 'upload', volume: null, wish: takeOverWish, image: image() })
    await byTakeOver.act()
    expect(byTakeOver.calls).not.toContain(`ceph.ensureAbsent ${show(volume)} snap`)
  })

  it('does not remove a clone of something else, nor upload over it', async () => {
    const { act, calls } = inSituation({ rung: 'upload', volume: state({ parent: { ...source, snap: 'theirs' } }) })
    await expect(act()).rejects.toMatchObject({ code: 'NAME_TAKEN' })
    expect(calls).not.toContain(`ceph.ensureAbsent ${show(volume)} snap`)
    expect(calls.filter((call) => call.startsWith('glance.upload'))).toEqual([])
  })
})

describe('the slow road in a take-over, which Nova is on already with the same image', () => {
  const rungs = ['clear', 'upload'] as const
  const taken = { wish: takeOverWish, image: image(), volume: state() }
  const touched = (calls: string[]) => calls.filter((call) => /Absent|ensure|upload|setProperties/.test(call))

  it.each(rungs)('waits while Nova is at work, and touches nothing (%s)', async (rung) => {
    for (const taskState of ['image_pending_upload', 'image_uploading', 'deleting']) {
      const { act, calls } = inSituation({ ...taken, rung, server: server({ taskState }) })
      expect(await act()).toEqual({ is: 'waiting', inMs: 2_000 })
      expect(touched(calls)).toEqual([])
    }
  })

  it.each(rungs)('waits for half an hour when the instance is gone (%s)', async (rung) => {
    const early = inSituation({ ...taken, rung, server: null, sinceMs: nowMs - 1_799_999 })
    expect(await early.act()).toEqual({ is: 'waiting', inMs: 2_000 })
    const late = inSituation({ ...taken, rung, server: null, sinceMs: nowMs - 1_800_000 })
    expect(await late.act()).toMatchObject({ is: 'done' })
  })

  it.each(rungs)('is ours when Nova has failed and the image is still queued (%s)', async (rung) => {
    const { act, calls } = inSituation({ ...taken, rung })
    expect(await act()).toMatchObject({ is: 'done' })
    expect(calls).toContain(`ceph.ensureAbsent ${show(volume)} snap`)
  })

  it.each<[string, Image | null, string]>([
    ['Nova made it active', image({ status: 'active' }), 'NOVA_DID_IT'],
    ['Nova made it active after our own claim', image({ status: 'active', sizeBytes: gib }), 'NOVA_DID_IT'],
    ['it is gone', null, 'IMAGE_GONE'],
  ])('ends when %s', async (_what, now, code) => {
    for (const rung of rungs) {
      const { act, calls } = inSituation({ ...taken, rung, image: now })
      await expect(act()).rejects.toMatchObject({ code })
      expect(touched(calls)).toEqual([])
    }
  })
})
