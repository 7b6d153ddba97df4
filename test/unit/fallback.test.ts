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
  server?: Server
  sent?: number
  cluster?: string
}
const temporary = `images/rbdsnap-${tagWish.run}-copy`
const why = ['CLONE_REFUSED: no layering']

function inSituation(given: Situation) {
  const { ports, calls } = portsOf({
    compute: { find: async () => given.server ?? server({ baseImage: null }) },
    images: {
      find: async () => given.image ?? null,
      ensureQueued: yes,
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
  const run = due<'fallback'>({ step: 'fallback', ...snapped, wish, why, rung, disk: { ...disk, cluster } })
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
    image({ status: 'active', sizeBytes, properties: { rbdsnap_run: run } })

  it('makes room, then the record, streams the snapshot, and goes on to clean up', async () => {
    const { act, calls } = inSituation({ rung: 'upload' })
    const usableMs = nowMs - tagWish.requestedAtMs
    expect(await act()).toEqual({ is: 'done', next: { step: 'cleanup', ...snapped, why, road: 'upload', usableMs } })
    expect(calls.map((call) => call.split(' ')[0])).toEqual([
      'glance.find',
      'ceph.ensureAbsent',
      'ceph.find',
      'ceph.ensureAbsent',
      'nova.find',
      'glance.ensureQueued',
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
    const byTakeOver = inSituation({ rung: 'upload', volume: null, wish: takeOverWish })
    await byTakeOver.act()
    expect(byTakeOver.calls).not.toContain(`ceph.ensureAbsent ${show(volume)} snap`)
  })

  it.each<[string, Situation]>([
    ['a clone of something else', { volume: state({ parent: { ...source, snap: 'theirs' } }) }],
    [
      "a volume without a parent in a take-over, while it may be Nova's",
      { wish: takeOverWish, volume: state(), server: server({ taskState: 'image_uploading' }) },
    ],
  ])('does not remove %s', async (_what, situation) => {
    const { act, calls } = inSituation({ rung: 'upload', ...situation })
    await expect(act()).rejects.toMatchObject({ code: 'NAME_TAKEN' })
    expect(calls).not.toContain(`ceph.ensureAbsent ${show(volume)} snap`)
    expect(calls.filter((call) => call.startsWith('glance.upload'))).toEqual([])
  })
})
