import { describe, expect, it } from 'vitest'
import type { Image } from '../../shared/ports/images.ts'
import type { UndoName } from '../../shared/pipeline.ts'
import { image, instance, server, source, state, takeOverWish } from './given.ts'
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
    expect(changes()).toEqual([dropRecord, dropVolume, dropSource, `guest.thaw ${instance}`, 'leases.save', takeTagOff])
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
