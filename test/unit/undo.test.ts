import { describe, expect, it } from 'vitest'
import type { Image } from '../../shared/ports/images.ts'
import type { Lease } from '../../shared/ports/journal.ts'
import type { UndoName } from '../../shared/pipeline.ts'
import { image, server, source, state, tagWish, takeOverWish, nowMs } from './given.ts'
import {
  busy,
  frozen,
  inSituation,
  dropSource,
  dropVolume,
  dropCopy,
  dropRecord,
  takeTagOff,
  lift,
  rejected,
  type Situation,
} from './given-undo.ts'

describe('the undo of the source snapshot', () => {
  it('does nothing when the run never got as far as a disk', async () => {
    const { act, changes } = inSituation({ undos: ['dropSourceSnapshot'], disk: null })
    await act()
    expect(changes()).toEqual([takeTagOff])
  })
})

describe('the undo of the freeze', () => {
  it('is tried until the guest is thawed', async () => {
    const { act, leases } = inSituation({
      undos: ['thaw'],
      lease: frozen,
      server: server({ vmState: 'suspended' }),
      isUnheard: true,
    })
    expect(await act()).toEqual({ is: 'waiting', inMs: 2_000 })
    expect(leases.of(frozen.key)?.freeze).not.toBeNull()
  })

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
    expect(changes().slice(0, 2)).toEqual([dropVolume, dropRecord])
  })

  it.each<[string, Situation]>([
    ['a clone of something else', { volume: state({ parent: { ...source, snap: 'theirs' } }) }],
    [
      'the volume of an active image',
      { volume: state({ parent: source }), image: image({ status: 'active', properties: {} }) },
    ],
    ['the volume of an image in upload', { volume: state({ parent: source }), image: image({ status: 'saving' }) }],
    ['in a take-over, a name that stands for nothing', { wish: takeOverWish, volume: null }],
    [
      'in a take-over, a clone that Nova made',
      { wish: takeOverWish, volume: state({ parent: { ...source, snap: 'nova' } }) },
    ],
  ])('leaves %s', async (_what, situation) => {
    const { act, changes } = inSituation({ undos, ...situation })
    await act()
    expect(changes()).not.toContain(dropVolume)
  })

  describe('whose image is in an upload that nobody of ours can be at any more', () => {
    const dead = { status: 'saving', updatedAtMs: nowMs - 1_200_001 } as const
    const remove = `glance.remove ${tagWish.image}`

    it('removes the record first, which nobody can fill any more, and then what there is of the data', async () => {
      const { act, changes } = inSituation({ undos, image: image(dead), volume: state() })
      expect(await act()).toEqual(rejected)
      expect(changes().slice(0, 2)).toEqual([remove, dropVolume])
    })

    it('lifts our protection for that in a take-over, when Nova is not at it', async () => {
      const given = { undos, wish: takeOverWish, image: image({ ...dead, isProtected: true }) }
      const one = inSituation(given)
      await one.act()
      expect(one.changes().slice(0, 2)).toEqual([lift, remove])
      const other = inSituation({ ...given, server: busy })
      expect(await other.act()).toEqual({ is: 'waiting', inMs: 2_000 })
      expect(other.changes()).toEqual([])
    })

    it('removes nothing because of a look that is too long ago', async () => {
      const given = { undos, wish: takeOverWish, image: image(dead), volume: state({ parent: source }) }
      const { act, changes } = inSituation({ ...given, novaMs: 6_000 })
      await expect(act()).rejects.toMatchObject({ code: 'TIMEOUT' })
      expect(changes()).not.toContain(dropVolume)
    })

    it("leaves one that is not of this run, and one with its owner's own protection", async () => {
      const foreign = image({ ...dead, properties: { rbdsnap_run: 'another' } })
      const protectedByOwner = image({
        ...dead,
        isProtected: true,
        properties: { ...image().properties, rbdsnap_owner_protected: 'true' },
      })
      for (const one of [foreign, protectedByOwner]) {
        const { act, changes } = inSituation({ undos, wish: takeOverWish, image: one, isRefused: true })
        expect(await act()).toEqual({ is: 'waiting', inMs: 2_000 })
        expect(changes()).not.toContain(lift)
        expect(changes()).not.toContain(dropVolume)
      }
    })
  })

  it('waits, in a take-over, while the volume may be what Nova is at', async () => {
    const { act, changes } = inSituation({ undos, wish: takeOverWish, server: busy, volume: state(), image: image() })
    expect(await act()).toEqual({ is: 'waiting', inMs: 2_000 })
    expect(changes()).toEqual([])
  })

  it('does not wait, in a take-over, for a clone of our own snapshot', async () => {
    const { act, changes } = inSituation({
      undos,
      wish: takeOverWish,
      server: busy,
      volume: state({ parent: source }),
      image: image(),
    })
    await act()
    expect(changes()).toEqual([dropVolume])
  })
})

describe('the undo of the record', () => {
  const undos: UndoName[] = ['dropRecord']

  it('removes it while it is queued', async () => {
    const { act, changes } = inSituation({ undos, image: image() })
    await act()
    expect(changes()).toEqual([dropRecord, takeTagOff])
  })

  it.each<[string, Image | null]>([
    ['belongs to another project', image({ owner: 'another' })],
    ['bears no mark of this run', image({ properties: {} })],
    ['is not there', null],
  ])('leaves what %s', async (_what, now) => {
    const { act, changes } = inSituation({ undos, image: now })
    await act()
    expect(changes()).toEqual([takeTagOff])
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

  it('waits for half an hour when the instance is gone, less often after a minute', async () => {
    const gone = { undos, wish: takeOverWish, server: null, image: claimed() }
    expect(await inSituation({ ...gone, sinceMs: nowMs - 60_000 }).act()).toEqual({ is: 'waiting', inMs: 2_000 })
    expect(await inSituation({ ...gone, sinceMs: nowMs - 1_799_999 }).act()).toEqual({ is: 'waiting', inMs: 30_000 })
    expect(await inSituation({ ...gone, sinceMs: nowMs - 1_800_000 }).act()).toEqual(rejected)
  })

  it('deletes the image that Nova gave up and could not delete because of us', async () => {
    const { act, changes } = inSituation({ undos, wish: takeOverWish, image: claimed() })
    expect(await act()).toEqual(rejected)
    expect(changes()).toEqual([lift, dropRecord])
  })

  it('takes our name off the image that Nova made active, and keeps it', async () => {
    const { act, changes } = inSituation({
      undos,
      wish: takeOverWish,
      image: claimed({ status: 'active', locations: ['rbd://nova'] }),
    })
    await act()
    expect(changes()).toEqual([lift, `glance.removeProperties ${tagWish.image} rbdsnap_run`])
  })

  it('keeps a protection that is the owner’s own', async () => {
    const properties = { rbdsnap_run: tagWish.run, rbdsnap_owner_protected: 'true' }
    const { act, changes } = inSituation({
      undos,
      wish: takeOverWish,
      image: claimed({ status: 'active', properties }),
    })
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
