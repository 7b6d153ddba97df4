import { describe, expect, it } from 'vitest'
import { clone } from '../../functions/clone.ts'
import { Failure } from '../../shared/failures.ts'
import type { Server } from '../../shared/ports/compute.ts'
import type { Image } from '../../shared/ports/images.ts'
import type { RbdState, Volumes } from '../../shared/ports/volumes.ts'
import { show } from '../../shared/names.ts'
import {
  context,
  disk,
  due,
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
  wish?: typeof tagWish
  server?: Server | null
  image?: Image | null
  volume?: RbdState
  sinceMs?: number
  ensureQueued?: () => Promise<void>
  ensureSnapshot?: () => Promise<void>
}
type Made = Awaited<ReturnType<Volumes['ensureClone']>>
const child = show(volume)
const [protectSource, makeClone] = [`ceph.ensureProtected ${show(source)}`, `ceph.ensureClone ${show(source)} ${child}`]
const [makeSnap, protectSnap] = [`ceph.ensureSnapshot ${child}@snap`, `ceph.ensureProtected ${child}@snap`]

function inSituation(made: Made, more: Situation = {}) {
  const { ports, calls } = portsOf({
    compute: { find: async () => (more.server === undefined ? server() : more.server) },
    images: {
      find: async () => (more.image === undefined ? image() : more.image),
      ensureQueued: more.ensureQueued ?? yes,
    },
    home: {
      ensureProtected: yes,
      ensureClone: async () => made,
      ensureSnapshot: more.ensureSnapshot ?? yes,
      ensureAbsent: yes,
      find: async () => more.volume ?? null,
    },
  })
  const act = () =>
    clone(due<'clone'>({ step: 'clone', ...snapped, wish: more.wish ?? tagWish }, more.sinceMs), ports, context())
  return { act, calls }
}
const inTakeOver = (made: Made, more: Situation = {}) => inSituation(made, { ...more, wish: takeOverWish })
const busy = server({ taskState: 'image_uploading' })

describe('a clone', () => {
  it('that is verified gets the snapshot that Glance clones from, protected, and goes to be registered', async () => {
    const { act, calls } = inSituation('verified')
    expect(await act()).toEqual({ is: 'done', next: { step: 'register', ...snapped, road: 'clone' } })
    expect(calls.filter((call) => call.startsWith('ceph'))).toEqual([protectSource, makeClone, makeSnap, protectSnap])
  })

  it("that is verified has Glance's record made while its snapshot waits for the monitors", async () => {
    const snap = Promise.withResolvers<void>()
    const record = Promise.withResolvers<void>()
    const { act, calls } = inSituation('verified', {
      image: null,
      ensureSnapshot: () => snap.promise,
      ensureQueued: async () => record.resolve(),
    })
    const acted = act()
    await record.promise
    expect(calls).not.toContain(protectSnap)
    snap.resolve()
    await acted
    expect(calls.at(-1)).toBe(protectSnap)
  })

  it('that is verified gets its snapshot also when Glance makes no record, so that nothing is under way any more', async () => {
    const snap = Promise.withResolvers<void>()
    const ensureQueued = async () => {
      snap.resolve()
      throw new Failure('QUOTA', 'too many images')
    }
    const { act, calls } = inSituation('verified', { image: null, ensureQueued, ensureSnapshot: () => snap.promise })
    await expect(act()).rejects.toMatchObject({ code: 'QUOTA' })
    expect(calls.at(-1)).toBe(protectSnap)
  })

  it('that Ceph is still at is waited for, and gets no snapshot yet', async () => {
    const { act, calls } = inSituation('running')
    expect(await act()).toEqual({ is: 'waiting', inMs: 1_000 })
    expect(calls).toEqual([protectSource, makeClone])
  })

  it('that is half made is removed, to be made again', async () => {
    const { act, calls } = inSituation('half-made')
    await expect(act()).rejects.toMatchObject({ code: 'CLONE_HALF_MADE', kind: 'retry' })
    expect(calls.at(-1)).toBe(`ceph.ensureAbsent ${child} snap`)
  })

  it('of something else under our name is left alone, for a person to see', async () => {
    const { act, calls } = inSituation('foreign')
    await expect(act()).rejects.toMatchObject({
      code: 'NAME_TAKEN',
      kind: 'park',
      words: `${child} is a clone of something else.`,
    })
    expect(calls).toEqual([protectSource, makeClone])
  })

  it('across clusters is not tried', async () => {
    const { ports, calls } = portsOf({})
    const message = due<'clone'>({ step: 'clone', ...snapped, disk: { ...disk, cluster: 'west' } })
    await expect(clone(message, ports, context())).rejects.toMatchObject({ code: 'OTHER_CLUSTER', kind: 'divert' })
    expect(calls).toEqual([])
  })
})

describe('a clone in a take-over, under a name that Nova uses too', () => {
  it('that is ours is registered without asking what Nova does', async () => {
    const { act, calls } = inTakeOver('verified', { server: busy })
    expect(await act()).toMatchObject({ next: { step: 'register' } })
    expect(calls.filter((call) => /nova|glance/.test(call))).toEqual([])
  })

  it.each<Made>(['foreign', 'half-made'])(
    'that is %s is waited for while Nova is at work, and not touched',
    async (made) => {
      for (const taskState of [
        'image_snapshot_pending',
        'image_snapshot',
        'image_pending_upload',
        'image_uploading',
        'image_backup',
      ]) {
        const { act, calls } = inTakeOver(made, { server: server({ taskState }) })
        expect(await act()).toEqual({ is: 'waiting', inMs: 1_000 })
        expect(calls.filter((call) => call.startsWith('ceph'))).toEqual([protectSource, makeClone])
      }
    },
  )

  it.each<Made>(['foreign', 'half-made'])(
    "that is %s is Nova's when its image is active, at work or not",
    async (made) => {
      for (const now of [busy, server(), null]) {
        const { act, calls } = inTakeOver(made, { server: now, image: image({ status: 'active' }) })
        await expect(act()).rejects.toMatchObject({ code: 'NOVA_DID_IT' })
        expect(calls).not.toContain(`ceph.ensureAbsent ${child} snap`)
      }
    },
  )

  it.each<Made>(['foreign', 'half-made'])('that is %s is of no use when the image is gone', async (made) => {
    await expect(inTakeOver(made, { image: null }).act()).rejects.toMatchObject({ code: 'IMAGE_GONE' })
  })

  it('that Nova gave up half made is removed, to be made again from our snapshot', async () => {
    const { act, calls } = inTakeOver('half-made')
    await expect(act()).rejects.toMatchObject({ code: 'CLONE_HALF_MADE', kind: 'retry' })
    expect(calls.at(-1)).toBe(`ceph.ensureAbsent ${child} snap`)
  })

  it('that Nova gave up and left as a clone of its own is for a person to see', async () => {
    const { act, calls } = inTakeOver('foreign', { volume: state({ parent: source }) })
    await expect(act()).rejects.toMatchObject({ code: 'NAME_TAKEN', words: expect.stringContaining('Nova') as string })
    expect(calls.filter((call) => call.includes('Absent'))).toEqual([])
  })

  it('that Nova is just removing is looked at once more', async () => {
    expect(await inTakeOver('foreign').act()).toEqual({ is: 'waiting', inMs: 1_000 })
  })

  it('is judged by the image as it is after the server was looked at: Nova makes it active first', async () => {
    const { act, calls } = inTakeOver('half-made')
    await act().catch(() => undefined)
    expect(calls.filter((call) => /nova|glance/.test(call)).map((call) => call.split(' ')[0])).toEqual([
      'nova.find',
      'glance.find',
    ])
  })

  it('whose server is gone is ours to make, half an hour later: Nova may still be at work, seen by nobody', async () => {
    expect(await inTakeOver('half-made', { server: null }).act()).toEqual({ is: 'waiting', inMs: 30_000 })
    const late = inTakeOver('half-made', { server: null, sinceMs: nowMs - 1_800_000 })
    await expect(late.act()).rejects.toMatchObject({ code: 'CLONE_HALF_MADE' })
  })
})
