import { describe, expect, it } from 'vitest'
import { register } from '../../functions/register.ts'
import { Failure } from '../../shared/failures.ts'
import type { Image } from '../../shared/ports/images.ts'
import type { RbdState } from '../../shared/ports/volumes.ts'
import {
  context,
  due,
  gib,
  image,
  nowMs,
  portsOf,
  server,
  snapped,
  state,
  tagWish,
  takeOverWish,
  yes,
} from './given.ts'

const whole = state({ snaps: [{ name: 'snap', isProtected: true, children: [], isUsed: false }] })
const fsid = 'c1aefb3a-6f4b-4bb3-9f1a-5e6f7a8b9c0d'

function inSituation(
  given: {
    volume?: RbdState | null
    wish?: typeof tagWish
    record?: Image | null
    ensureQueued?: () => Promise<void>
    ensureLocation?: () => Promise<void>
  } = {},
) {
  const { ports, calls } = portsOf({
    compute: { find: async () => server({ baseImage: null }) },
    images: {
      find: async () => (given.record === undefined ? image() : given.record),
      ensureQueued: given.ensureQueued ?? yes,
      ensureLocation: given.ensureLocation ?? yes,
    },
    home: { fsid: async () => fsid, find: async () => (given.volume === undefined ? whole : given.volume) },
  })
  const run = due<'register'>({ step: 'register', ...snapped, wish: given.wish ?? tagWish, road: 'clone' })
  return { act: () => register(run, ports, context()), calls }
}

describe('register', () => {
  it('gives the record its location and its size, and says how long it took since it was asked for', async () => {
    const { act, calls } = inSituation()
    expect(await act()).toEqual({
      is: 'done',
      next: { step: 'flatten', ...snapped, road: 'clone', usableMs: nowMs - tagWish.requestedAtMs },
    })
    expect(calls).not.toContain('glance.ensureQueued')
    expect(calls.at(-1)).toBe(
      `glance.ensureLocation ${tagWish.image} rbd://${fsid}/images/${tagWish.image}/snap ${gib}`,
    )
  })

  it('makes the record that a copy has not yet', async () => {
    const { act, calls } = inSituation({ record: null })
    await act()
    expect(calls).toContain('glance.ensureQueued')
  })

  it('took no time at all, and not less, by a clock that is behind that of whoever took the request', async () => {
    const { act } = inSituation({ wish: { ...tagWish, requestedAtMs: nowMs + 700 } })
    expect(await act()).toMatchObject({ next: { usableMs: 0 } })
  })

  it("makes no record in a take-over, where it is Nova's", async () => {
    const { act, calls } = inSituation({ wish: takeOverWish })
    await act()
    expect(calls).not.toContain('glance.ensureQueued')
  })

  it.each<[string, RbdState | null]>([
    ['is gone', null],
    ['has another size', state({ sizeBytes: gib + 1, snaps: whole.snaps })],
    ['has no snapshot', state()],
    [
      'has a snapshot that is not protected',
      state({ snaps: [{ name: 'snap', isProtected: false, children: [], isUsed: false }] }),
    ],
    [
      'has a snapshot of another name',
      state({ snaps: [{ name: 'snapshot', isProtected: true, children: [], isUsed: false }] }),
    ],
  ])('tells Glance nothing of a volume that %s', async (_what, volume) => {
    const { act, calls } = inSituation({ volume })
    await expect(act()).rejects.toMatchObject({ code: 'NAME_TAKEN' })
    expect(calls.filter((call) => call.startsWith('glance.ensureLocation'))).toEqual([])
  })

  it('is turned back, not parked, when the owner deleted the image that an earlier try had made', async () => {
    const ensureQueued = async () => {
      await Promise.resolve()
      throw new Failure('IMAGE_GONE', 'its id was used before')
    }
    await expect(inSituation({ volume: null, record: null, ensureQueued }).act()).rejects.toMatchObject({
      code: 'IMAGE_GONE',
    })
  })

  it('hands on that Glance takes no location: the driver diverts', async () => {
    const ensureLocation = async () => {
      throw new Failure('LOCATION_REFUSED', '403')
    }
    await expect(inSituation({ ensureLocation }).act()).rejects.toMatchObject({
      code: 'LOCATION_REFUSED',
      kind: 'divert',
    })
  })
})
