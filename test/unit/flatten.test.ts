import { describe, expect, it } from 'vitest'
import { flatten } from '../../functions/flatten.ts'
import { Failure } from '../../shared/failures.ts'
import type { Server } from '../../shared/ports/compute.ts'
import type { Image } from '../../shared/ports/images.ts'
import type { Lease } from '../../shared/ports/journal.ts'
import type { Progress } from '../../shared/ports/volumes.ts'
import { show } from '../../shared/names.ts'
import { context, due, image, leasesOf, nowMs, portsOf, server, snapped, tagWish, volume } from './given.ts'

const place = (n: number, holder: string | null, untilMs = nowMs + 50_000): Lease => ({
  key: `flatten/${n}`,
  version: 1,
  holder,
  epoch: 1,
  untilMs,
  freeze: null,
  thawed: null,
})
const facts = { ...snapped, road: 'clone', usableMs: 900 } as const
const atCeph = `ceph.flatten ${show(volume)}`

function inSituation(given: {
  progress?: Progress
  leases?: Lease[]
  server?: Server | null
  places?: number
  flatten?: () => Promise<Progress>
  waitedMs?: number
  image?: Image | null
}) {
  const leases = leasesOf(...(given.leases ?? []))
  const { ports, calls } = portsOf({
    compute: { find: async () => (given.server === undefined ? server() : given.server) },
    images: { find: async () => given.image ?? null },
    home: { flatten: given.flatten ?? (async () => given.progress ?? { is: 'done' }) },
    leases,
  })
  const act = () =>
    flatten(
      due<'flatten'>({ step: 'flatten', ...facts }, nowMs - (given.waitedMs ?? 0)),
      ports,
      context({ flattensAtOnce: given.places ?? 2 }),
    )
  return { act, calls, leases }
}
const full = [place(0, 'one'), place(1, 'another')]

describe('flatten', () => {
  it('takes a place, is waited for with its progress, and keeps the place', async () => {
    const { act, leases } = inSituation({ progress: { is: 'running', fraction: 0.4 } })
    expect(await act()).toEqual({ is: 'waiting', inMs: 2_000, fraction: 0.4 })
    expect(leases.of('flatten/0')?.holder).toBe(tagWish.run)
    await act()
    expect(leases.of('flatten/1')).toBeUndefined()
  })

  it('gives its place back when it is done, and goes on to clean up', async () => {
    const { act, leases } = inSituation({ leases: [place(0, 'one'), place(1, tagWish.run)] })
    expect(await act()).toEqual({ is: 'done', next: { step: 'cleanup', ...facts } })
    expect(leases.of('flatten/1')?.holder).toBeNull()
    expect(leases.of('flatten/0')?.holder).toBe('one')
  })

  it('waits while every place is taken, without asking Ceph', async () => {
    const { act, calls } = inSituation({ leases: full })
    expect(await act()).toEqual({ is: 'waiting', inMs: 2_000 })
    expect(calls).not.toContain(atCeph)
  })

  it.each([
    [60_000, 15_000],
    [3_600_000, 30_000],
  ])('asks less often the longer it waited for a place: after %i ms in %i ms', async (waitedMs, inMs) => {
    expect(await inSituation({ leases: full, waitedMs }).act()).toEqual({ is: 'waiting', inMs })
  })

  it('takes the place of one whose function died', async () => {
    const { act, leases } = inSituation({
      leases: [place(0, 'one'), place(1, 'dead', nowMs - 1)],
      progress: { is: 'running', fraction: null },
    })
    await act()
    expect(leases.of('flatten/1')?.holder).toBe(tagWish.run)
  })

  it.each([
    ['is being deleted', server({ taskState: 'deleting' })],
    ['is being rebuilt', server({ taskState: 'rebuilding' })],
    ['is being put away', server({ taskState: 'shelving_offloading' })],
    ['is gone', null],
  ])('does not wait for a place when its instance %s: Nova wants the disk', async (_what, now) => {
    const { act, calls, leases } = inSituation({ leases: full, server: now })
    expect(await act()).toMatchObject({ is: 'done' })
    expect(calls).toContain(atCeph)
    expect([leases.of('flatten/0')?.holder, leases.of('flatten/1')?.holder]).toEqual(['one', 'another'])
  })

  it('is done when the owner deleted the image, and Glance the volume with it, and asks again when only the volume is gone', async () => {
    const flatten = async () => {
      throw new Failure('IMAGE_GONE', 'x')
    }
    expect(await inSituation({ flatten, image: null }).act()).toMatchObject({ is: 'done', next: { step: 'cleanup' } })
    await expect(inSituation({ flatten, image: image() }).act()).rejects.toMatchObject({
      code: 'IMAGE_GOING',
      kind: 'retry',
    })
  })

  it('is tried again, with its place kept, when Ceph fails', async () => {
    const flatten = async () => {
      throw new Failure('CEPH_UNREACHABLE', 'x')
    }
    const { act, leases } = inSituation({ flatten })
    await expect(act()).rejects.toMatchObject({ code: 'CEPH_UNREACHABLE' })
    expect(leases.of('flatten/0')?.holder).toBe(tagWish.run)
  })

  it('has as many places as the operator says', async () => {
    const { act, leases } = inSituation({ leases: full, places: 3, progress: { is: 'running', fraction: null } })
    await act()
    expect(leases.of('flatten/2')?.holder).toBe(tagWish.run)
  })
})
