import { describe, expect, it } from 'vitest'
import { unwind } from '../../functions/unwind.ts'
import { locationUrl, show } from '../../shared/names.ts'
import type { Server } from '../../shared/ports/compute.ts'
import type { Image } from '../../shared/ports/images.ts'
import type { Lease } from '../../shared/ports/journal.ts'
import type { RbdState } from '../../shared/ports/volumes.ts'
import type { UndoName } from '../../shared/pipeline.ts'
import type { Because, Disk } from '../../shared/run.ts'
import { consistency, context, disk, due, image, instance, leasesOf, nowMs, portsOf, server, source, state, tagWish, takeOverWish, volume, yes } from './given.ts'

interface Situation {
  undos?: UndoName[]
  wish?: typeof tagWish
  disk?: Disk | null
  server?: Server | null
  image?: Image | null
  volume?: RbdState | null
  lease?: Lease
  because?: Because
}
const quota: Because = { code: 'QUOTA', words: 'no space', at: 'register' }
const fsid = 'c1aefb3a-6f4b-4bb3-9f1a-5e6f7a8b9c0d'
const ours = locationUrl(fsid, volume)
const busy = server({ taskState: 'image_uploading' })
const frozen: Lease = {
  key: `instance/${instance}`,
  version: 1,
  holder: tagWish.run,
  epoch: 1,
  untilMs: nowMs,
  freeze: { askedAtMs: nowMs, isConfirmed: true },
  thawed: null,
}

function inSituation(given: Situation) {
  const leases = leasesOf(...(given.lease ? [given.lease] : []))
  const { ports, calls } = portsOf({
    compute: { find: async () => (given.server === undefined ? server() : given.server), ensureTagAbsent: yes },
    images: { find: async () => given.image ?? null, setProtected: yes, removeProperties: yes, ensureQueuedAbsent: async () => 'absent' },
    home: { fsid: async () => fsid, find: async () => given.volume ?? null, ensureAbsent: yes, ensureSnapshotAbsent: yes },
    guest: { thaw: yes },
    leases,
  })
  const { wish = tagWish, undos = [], because = quota } = given
  const run = due<'unwind'>({
    step: 'unwind',
    wish,
    disk: given.disk === undefined ? disk : given.disk,
    consistency,
    why: [],
    undos,
    because,
  })
  const changes = () => calls.filter((call) => !/\.(find|fsid)\b/.test(call))
  return { act: () => unwind(run, ports, context()), calls, changes, leases }
}
const dropSource = `ceph.ensureSnapshotAbsent ${show(source)}`
const dropVolume = `ceph.ensureAbsent ${show(volume)} snap`
const dropCopy = `ceph.ensureAbsent images/rbdsnap-${tagWish.run}-copy none`
const dropRecord = `glance.ensureQueuedAbsent ${tagWish.image}`
const takeTagOff = `nova.ensureTagAbsent ${instance} snapshot:before-upgrade`
const lift = `glance.setProtected ${tagWish.image} false`
const rejected = { is: 'ended', outcome: 'rejected', failure: quota, reason: null }

describe('unwind', () => {
  it('undoes what was noted, last first, then takes the tag off, and says why', async () => {
    const { act, changes } = inSituation({
      undos: ['thaw', 'dropSourceSnapshot', 'dropClone', 'dropRecord'],
      volume: state({ parent: source }),
      image: image(),
      lease: frozen,
    })
    expect(await act()).toEqual(rejected)
    expect(changes()).toEqual([dropRecord, dropVolume, dropSource, `guest.thaw ${instance}`, 'leases.save', takeTagOff])
  })

  it('undoes nothing that was not noted', async () => {
    const { act, changes } = inSituation({ undos: [], volume: state({ parent: source }), image: image(), lease: frozen })
    expect(await act()).toEqual(rejected)
    expect(changes()).toEqual([takeTagOff])
  })

  it('calls it no rejection when Nova was quicker', async () => {
    const { act } = inSituation({ because: { ...quota, code: 'NOVA_DID_IT' }, wish: takeOverWish })
    expect(await act()).toMatchObject({ outcome: 'nova-did-it', failure: { code: 'NOVA_DID_IT' } })
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
  const active = (more: Partial<Image> = {}) => image({ status: 'active', locations: [ours], ...more })
  const undos: UndoName[] = ['dropSourceSnapshot', 'dropClone', 'dropRecord']

  it('goes forward', async () => {
    const { act, changes } = inSituation({ undos, image: active(), volume: state({ parent: source }) })
    expect(await act()).toMatchObject({ is: 'done', next: { step: 'flatten', road: 'clone', usableMs: 1_000 } })
    expect(changes()).toEqual([])
  })

  it('goes forward with a copy as well', async () => {
    const { act } = inSituation({ undos: [...undos, 'dropCopy'], image: active(), volume: state() })
    expect(await act()).toMatchObject({ is: 'done', next: { step: 'flatten', road: 'copy' } })
  })

  it.each<[string, Situation]>([
    ['of another run', { image: active({ properties: { rbdsnap_run: 'another' } }), volume: state({ parent: source }) }],
    ["with another location than ours: it is Nova's", { image: active({ locations: ['rbd://x'] }), volume: state({ parent: source }) }],
    ['a clone of another snapshot', { image: active(), volume: state({ parent: { ...source, snap: 'nova' } }) }],
    ['without a parent, and no copy was made', { image: active(), volume: state() }],
    ['and nothing was snapshotted yet', { image: active(), disk: null }],
  ])('does not when it is %s, and still removes no volume of an active image', async (_what, situation) => {
    const { act, changes } = inSituation({ undos, ...situation })
    expect(await act()).toMatchObject({ is: 'ended' })
    expect(changes()).not.toContain(dropVolume)
  })
})

describe('the undo of the source snapshot', () => {
  it('does nothing when the run never got as far as a disk', async () => {
    const { act, changes } = inSituation({ undos: ['dropSourceSnapshot'], disk: null })
    await act()
    expect(changes()).toEqual([takeTagOff])
  })
})

describe('the undo of the freeze', () => {
  it.each<[string, Partial<Lease>]>([
    ['another run holds the instance', { holder: 'another' }],
    ['nothing is frozen', { freeze: null }],
  ])('does nothing when %s', async (_when, more) => {
    const { act, changes } = inSituation({ undos: ['thaw'], lease: { ...frozen, ...more } })
    await act()
    expect(changes()).toEqual([takeTagOff])
  })
})

describe('the undo of the clone', () => {
  const undos: UndoName[] = ['dropClone']

  it.each<[string, Situation]>([
    ['a clone of our snapshot', { volume: state({ parent: source }) }],
    ['a half-made one, without a parent', { volume: state() }],
    ['one that does not open, and so reads as absent', { volume: null }],
  ])('removes %s', async (_what, situation) => {
    const { act, changes } = inSituation({ undos, image: image(), ...situation })
    await act()
    expect(changes()).toContain(dropVolume)
  })

  it.each<[string, Situation]>([
    ['a clone of something else', { volume: state({ parent: { ...source, snap: 'theirs' } }) }],
    ['the volume of an active image', { volume: state({ parent: source }), image: image({ status: 'active', properties: {} }) }],
    ['the volume of an image in upload', { volume: state({ parent: source }), image: image({ status: 'saving' }) }],
    ['in a take-over, a name that stands for nothing', { wish: takeOverWish, volume: null }],
    ['in a take-over, a clone that Nova made', { wish: takeOverWish, volume: state({ parent: { ...source, snap: 'nova' } }) }],
  ])('leaves %s', async (_what, situation) => {
    const { act, changes } = inSituation({ undos, ...situation })
    await act()
    expect(changes()).not.toContain(dropVolume)
  })

  it('waits, in a take-over, while the volume may be what Nova is at', async () => {
    const { act, changes } = inSituation({ undos, wish: takeOverWish, server: busy, volume: state(), image: image() })
    expect(await act()).toEqual({ is: 'waiting', inMs: 2_000 })
    expect(changes()).toEqual([])
  })

  it('does not wait, in a take-over, for a clone of our own snapshot', async () => {
    const { act, changes } = inSituation({ undos, wish: takeOverWish, server: busy, volume: state({ parent: source }), image: image() })
    await act()
    expect(changes()).toEqual([dropVolume])
  })
})

describe('the undo of the copy', () => {
  it('removes the temporary copy, the volume and the record', async () => {
    const { act, changes } = inSituation({ undos: ['dropCopy'], volume: state(), image: image() })
    await act()
    expect(changes()).toEqual([dropCopy, dropVolume, dropRecord, takeTagOff])
  })
})

describe("the undo of the claim on Nova's image", () => {
  const undos: UndoName[] = ['releaseClaim']
  const claimed = (more: Partial<Image> = {}) => image({ isProtected: true, ...more })

  it('waits while Nova is at work: the claim is what protects the image', async () => {
    const { act, changes } = inSituation({ undos, wish: takeOverWish, server: busy, image: claimed() })
    expect(await act()).toEqual({ is: 'waiting', inMs: 2_000 })
    expect(changes()).toEqual([])
  })

  it('deletes the image that Nova gave up and could not delete because of us', async () => {
    const { act, changes } = inSituation({ undos, wish: takeOverWish, image: claimed() })
    expect(await act()).toEqual(rejected)
    expect(changes()).toEqual([lift, dropRecord])
  })

  it('takes our name off the image that Nova made active, and keeps it', async () => {
    const { act, changes } = inSituation({ undos, wish: takeOverWish, image: claimed({ status: 'active', locations: ['rbd://nova'] }) })
    await act()
    expect(changes()).toEqual([lift, `glance.removeProperties ${tagWish.image} rbdsnap_run`])
  })

  it('keeps a protection that is the owner’s own', async () => {
    const properties = { rbdsnap_run: tagWish.run, rbdsnap_owner_protected: 'true' }
    const { act, changes } = inSituation({ undos, wish: takeOverWish, image: claimed({ status: 'active', properties }) })
    await act()
    expect(changes()).not.toContain(lift)
  })

  it.each<[string, Image | null]>([
    ['is gone', null],
    ['bears no claim of this run', image({ properties: {} })],
  ])('does nothing when the image %s', async (_what, now) => {
    const { act, changes } = inSituation({ undos, wish: takeOverWish, image: now })
    await act()
    expect(changes()).toEqual([])
  })

  it('comes last: until then no other undo can lose the image', async () => {
    const { act, changes } = inSituation({
      undos: ['releaseClaim', 'dropSourceSnapshot', 'dropClone', 'dropRecord'],
      wish: takeOverWish,
      image: claimed(),
      volume: state({ parent: source }),
    })
    await act()
    expect(changes()).toEqual([dropVolume, dropSource, lift, dropRecord])
  })
})
