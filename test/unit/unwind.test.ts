import { describe, expect, it } from 'vitest'
import type { Image } from '../../shared/ports/images.ts'
import type { UndoName } from '../../shared/pipeline.ts'
import { disk, image, instance, nowMs, server, source, state, tagWish, takeOverWish } from './given.ts'
import {
  ours,
  frozen,
  inSituation,
  dropSource,
  dropVolume,
  quota,
  dropRecord,
  takeTagOff,
  rejected,
  type Situation,
} from './given-undo.ts'

describe('unwind', () => {
  it('undoes what was noted, last first, then takes the tag off, and says why', async () => {
    const { act, changes } = inSituation({
      undos: ['thaw', 'dropSourceSnapshot', 'dropClone', 'dropRecord'],
      volume: state({ parent: source }),
      image: image(),
      lease: frozen,
    })
    expect(await act()).toEqual(rejected)
    const [ofRegister, ofClone] = [[dropRecord], [dropVolume, dropRecord]]
    const thaw = [`guest.thaw ${instance}`, 'leases.save']
    expect(changes()).toEqual([...ofRegister, ...ofClone, dropSource, ...thaw, takeTagOff])
  })

  it('undoes nothing that was not noted', async () => {
    const { act, changes } = inSituation({
      undos: [],
      volume: state({ parent: source }),
      image: image(),
      lease: frozen,
    })
    expect(await act()).toEqual(rejected)
    expect(changes()).toEqual([takeTagOff])
  })

  it('calls it no rejection when Nova was quicker', async () => {
    const { act } = inSituation({ because: { ...quota, code: 'NOVA_DID_IT' }, wish: takeOverWish })
    expect(await act()).toMatchObject({ outcome: 'nova-did-it', failure: { code: 'NOVA_DID_IT' } })
  })

  it('waits with the tag of a server that is put away: Nova does not let it go', async () => {
    const { act } = inSituation({ server: server({ vmState: 'shelved_offloaded', tags: ['snapshot:before-upgrade'] }) })
    expect(await act()).toEqual({ is: 'waiting', inMs: 30_000 })
  })

  it.each([
    ['the server is gone', null],
    ['the server is of another project', server({ project: 'another' })],
  ])('takes no tag off when %s', async (_when, now) => {
    const { act, changes } = inSituation({ server: now })
    await act()
    expect(changes()).toEqual([])
  })
})

describe('unwind of a run whose image is active after all', () => {
  const active = (more: Partial<Image> = {}) =>
    image({ status: 'active', locations: [ours], sizeBytes: disk.sizeBytes, ...more })
  const made = (road: string) => active({ properties: { rbdsnap_run: tagWish.run, rbdsnap_road: road } })
  const undos: UndoName[] = ['dropSourceSnapshot', 'dropClone', 'dropRecord']

  it('goes forward', async () => {
    const { act, changes } = inSituation({ undos, image: active(), volume: state({ parent: source }) })
    expect(await act()).toMatchObject({ is: 'done', next: { step: 'flatten', road: 'clone', usableMs: 1_000 } })
    expect(changes()).toEqual([])
  })

  it('goes forward with a copy as well', async () => {
    const { act } = inSituation({ undos: [...undos, 'dropCopy'], image: made('copy'), volume: state() })
    expect(await act()).toMatchObject({ is: 'done', next: { step: 'flatten', road: 'copy' } })
  })

  it('goes forward with an upload, which Glance put where it wanted', async () => {
    const { act } = inSituation({ undos: [...undos, 'dropCopy'], image: made('upload'), volume: null })
    expect(await act()).toMatchObject({ is: 'done', next: { step: 'flatten', road: 'upload' } })
  })

  it('goes forward with its own clone where Glance hides locations', async () => {
    const { act } = inSituation({ undos, image: active({ locations: [] }), volume: state({ parent: source }) })
    expect(await act()).toMatchObject({ is: 'done', next: { step: 'flatten', road: 'clone' } })
  })

  it.each<[string, Situation]>([
    [
      'of another run',
      { image: active({ properties: { rbdsnap_run: 'another' } }), volume: state({ parent: source }) },
    ],
    [
      "with another location than ours: it is Nova's",
      { image: active({ locations: ['rbd://x'] }), volume: state({ parent: source }) },
    ],
    ['a clone of another snapshot', { image: active(), volume: state({ parent: { ...source, snap: 'nova' } }) }],
    ['without a parent, and no copy was made', { image: active(), volume: state() }],
    [
      "what Nova uploaded while our own upload had not begun: its bytes are not our snapshot's",
      { image: active({ checksum: 'md5' }), volume: state(), undos: [...undos, 'dropCopy'] },
    ],
    ['of another size', { image: active({ sizeBytes: 1 }), volume: state({ parent: source }) }],
    [
      'what Nova made of it',
      { image: active(), volume: state({ parent: source }), because: { ...quota, code: 'NOVA_DID_IT' } },
    ],
    ['and nothing was snapshotted yet', { image: active(), disk: null }],
  ])('does not when it is %s, and still removes no volume of an active image', async (_what, situation) => {
    const { act, changes } = inSituation({ undos, ...situation })
    expect(await act()).toMatchObject({ is: 'ended' })
    expect(changes()).not.toContain(dropVolume)
  })
})

describe('unwind of a run whose instance was deleted meanwhile', () => {
  const gone: Situation = { undos: ['dropSourceSnapshot'], server: null }
  const dropDisk = `ceph.ensureAbsent ${disk.pool}/${disk.image} none`

  it('removes the disk that Nova gave up because of our snapshot, and says so', async () => {
    const { act, changes } = inSituation({ ...gone, disk, sourceVolume: state({ sizeBytes: disk.sizeBytes }) })
    expect(await act()).toMatchObject({ is: 'ended', reason: expect.stringContaining('it was removed') })
    expect(changes()).toEqual([dropSource, dropDisk])
  })

  it('leaves a disk with a snapshot that is not ours', async () => {
    const snaps = [{ name: 'backup', isProtected: false, children: [], isUsed: false }]
    const { act, changes } = inSituation({ ...gone, disk, sourceVolume: state({ sizeBytes: disk.sizeBytes, snaps }) })
    expect(await act()).toMatchObject({ is: 'ended', reason: null })
    expect(changes()).toEqual([dropSource])
  })

  it('waits for Nova while it is deleting', async () => {
    const { act } = inSituation({ ...gone, server: server({ taskState: 'deleting' }), sinceMs: nowMs - 1_000 })
    expect(await act()).toEqual({ is: 'waiting', inMs: 5_000 })
  })
})
