import { describe, expect, it } from 'vitest'
import { Failure } from '../../shared/failures.ts'
import { imageOf, tagRun } from '../../shared/names.ts'
import type { Image } from '../../shared/ports/images.ts'
import { instance, nowMs, project, server, tagWish } from './given.ts'
import {
  novasImage,
  run,
  started,
  legacyStarted,
  queued,
  inSituation,
  begun,
  type Situation,
} from './given-notifications.ts'

describe('ingest of a snapshot that Nova begins', () => {
  it('reserves the run, its undo noted, before it claims the image, and begins it', async () => {
    const { act, calls, claims, only } = inSituation()
    const { begun: made } = await act(started())
    expect(made).toMatchObject([
      { next: { step: 'quiesce', wish: { run, image: novasImage, trigger: { is: 'take-over' }, imageName: 'snap' } } },
    ])
    expect(only()).toMatchObject({
      hop: 0,
      undos: ['releaseClaim'],
      outcome: null,
      wish: { instance, project, rule: 'take-over' },
    })
    expect(calls.map((call) => call.split(' ')[0]).filter((call) => /reserve|claim/.test(call ?? ''))).toEqual([
      'journal.reserve',
      'glance.claim',
    ])
    expect(claims).toEqual([{ rbdsnap_run: run }])
  })

  it('remembers that the owner had protected the image himself, but not our own protection', async () => {
    const byOwner = inSituation({ image: queued({ isProtected: true }) })
    await byOwner.act(started())
    expect(byOwner.claims).toEqual([{ rbdsnap_run: run, rbdsnap_owner_protected: 'true' }])
    const byUs = inSituation({
      image: queued({ isProtected: true, properties: { instance_uuid: instance, rbdsnap_run: run } }),
    })
    await byUs.act(started())
    expect(byUs.claims).toEqual([{ rbdsnap_run: run }])
    const inherited = inSituation({
      image: queued({ isProtected: true, properties: { instance_uuid: instance, rbdsnap_run: 'of the base image' } }),
    })
    await inherited.act(started())
    expect(inherited.claims).toEqual([{ rbdsnap_run: run, rbdsnap_owner_protected: 'true' }])
  })

  it("in the legacy form takes Nova's image for Nova's, though it inherited our mark from the base image", async () => {
    const properties = { instance_uuid: instance, rbdsnap_run: tagRun(instance, 'snapshot', 1) }
    const { act, only } = inSituation({ ofInstance: [queued({ properties })] })
    expect((await act(legacyStarted())).begun).toHaveLength(1)
    expect(only()).toMatchObject({ wish: { run, image: novasImage } })
  })

  it("in the legacy form leaves an image alone that another project made under the instance's id", async () => {
    const planted = queued({ id: 'cccccccc-0000-4000-8000-000000000001', owner: 'another' })
    const { act, only } = inSituation({ ofInstance: [planted, queued({ createdAtMs: nowMs - 1_000 })] })
    expect((await act(legacyStarted())).begun).toHaveLength(1)
    expect(only()).toMatchObject({ wish: { run, image: novasImage } })
  })

  it('in the legacy form finds the image by its instance and its time, and begins the same run', async () => {
    const other = (id: string, more: Partial<Image>) => queued({ id, ...more })
    const ofInstance = [
      other('cccccccc-0000-4000-8000-000000000001', { createdAtMs: nowMs + 5_001 }),
      ...[1, 3].map((attempt) =>
        other(imageOf(tagWish.run, attempt), { properties: { instance_uuid: instance, rbdsnap_run: tagWish.run } }),
      ),
      queued({ createdAtMs: nowMs - 300 }),
      other('cccccccc-0000-4000-8000-000000000003', { createdAtMs: nowMs - 60_000 }),
    ]
    const { act, only } = inSituation({ ofInstance })
    expect((await act(legacyStarted())).begun).toHaveLength(1)
    expect(only()).toMatchObject({ wish: { run, image: novasImage } })
  })

  it.each<[string, Image[]]>([
    ['there is none', []],
    ['the newest is no longer queued', [queued({ status: 'active' }), queued({ createdAtMs: nowMs - 60_000 })]],
  ])('in the legacy form does nothing when %s', async (_when, ofInstance) => {
    const { act, records } = inSituation({ ofInstance })
    expect(await act(legacyStarted())).toEqual({ begun: [], woken: [] })
    expect(records.size).toBe(0)
  })

  it.each([
    ['versioned', 'legacy', started(), legacyStarted()],
    ['legacy', 'versioned', legacyStarted(), started()],
  ])('begins one run when the %s form comes and then the %s', async (_one, _other, first, second) => {
    const situation = inSituation({ journal: [await begun(first, 1)] })
    expect(await situation.act(second)).toEqual({ begun: [], woken: [] })
    expect(situation.claims).toEqual([])
  })

  it.each([started(), legacyStarted()])(
    'goes on where a delivery died after the reservation: $format',
    async (again) => {
      const situation = inSituation({
        journal: [await begun(again, 0)],
        image: queued({ properties: { instance_uuid: instance, rbdsnap_run: run } }),
      })
      expect((await situation.act(again)).begun).toMatchObject([{ next: { step: 'quiesce' } }])
      expect(situation.records.size).toBe(1)
    },
  )

  it('in the legacy form goes on with the image that it had reserved, though another snapshot has begun since', async () => {
    const newer = queued({ id: 'cccccccc-0000-4000-8000-000000000001' })
    const journal = [await begun(legacyStarted(), 0)]
    const again = inSituation({ journal, ofInstance: [newer, queued()] })
    expect((await again.act(legacyStarted())).begun.map((b) => b.record.wish.run)).toEqual([run])
    const another = inSituation({ journal, ofInstance: [newer, queued()], image: newer })
    const { begun: made } = await another.act(legacyStarted({ messageId: 'm-3' }))
    expect(made.map((b) => b.record.wish.image)).toEqual([newer.id])
  })

  it('leaves a run alone that was parked at the door', async () => {
    const situation = inSituation({ journal: [await begun(started(), 0, { outcome: 'parked' })] })
    expect(await situation.act(started())).toEqual({ begun: [], woken: [] })
    expect(situation.calls).toHaveLength(1)
  })

  it.each<[string, Parameters<typeof inSituation>[0], string]>([
    ['the instance is gone', { server: null }, 'INSTANCE_GONE'],
    ['Nova was quicker', { image: queued({ status: 'active' }) }, 'NOVA_DID_IT'],
  ])('takes the reservation back when %s before it went on', async (_when, situation, code) => {
    const { act } = inSituation({ ...situation, journal: [await begun(started(), 0)] })
    expect((await act(started())).begun).toMatchObject([{ next: { step: 'unwind', because: { code } } }])
  })

  it('over the limit turns away no run that has begun', async () => {
    const { act, only } = inSituation({ journal: [await begun(started(), 3)], count: { open: 4, since: 4 } })
    expect(await act(legacyStarted())).toEqual({ begun: [], woken: [] })
    expect(only()).toMatchObject({ hop: 3, outcome: null })
  })

  it('takes the reservation back when the image was deleted before it went on', async () => {
    const situation = inSituation({ journal: [await begun(started(), 0)], image: null })
    expect((await situation.act(started())).begun).toMatchObject([
      { next: { step: 'unwind', because: { code: 'IMAGE_GONE' }, undos: ['releaseClaim'] } },
    ])
  })

  it('does nothing when the image is gone before it began', async () => {
    const { act, records } = inSituation({ image: null })
    expect(await act(started())).toEqual({ begun: [], woken: [] })
    expect(records.size).toBe(0)
  })

  it.each<[string, Situation, string, string]>([
    ['Nova was quicker', { image: queued({ status: 'active' }) }, 'nova-did-it', 'NOVA_DID_IT'],
    ['Nova is uploading already', { image: queued({ status: 'saving' }) }, 'nova-did-it', 'NOVA_DID_IT'],
    ['the image is of another owner', { image: queued({ owner: 'another' }) }, 'rejected', 'FOREIGN_PROJECT'],
    [
      'the image is of another instance',
      { image: queued({ properties: { instance_uuid: novasImage } }) },
      'rejected',
      'FOREIGN_PROJECT',
    ],
    ['the instance is of another project', { server: server({ project: 'another' }) }, 'rejected', 'FOREIGN_PROJECT'],
    ['Nova does not know the instance', { server: null }, 'rejected', 'INSTANCE_GONE'],
    ['the limit is reached', { count: { open: 4, since: 4 } }, 'rejected', 'LIMIT_REACHED'],
  ])('notes and touches nothing when %s', async (_when, situation, outcome, code) => {
    const { act, only, claims } = inSituation(situation)
    expect(await act(started())).toEqual({ begun: [], woken: [] })
    expect(only()).toMatchObject({ outcome, code, endedAtMs: nowMs, undos: [] })
    expect(claims).toEqual([])
  })

  it.each([
    ['NOVA_DID_IT', 'unwind'],
    ['IMAGE_GONE', 'unwind'],
  ] as const)('backs out when the claim says %s', async (code, step) => {
    const claim = async () => {
      throw new Failure(code, 'x')
    }
    const { act } = inSituation({ claim })
    expect((await act(started())).begun).toMatchObject([
      { next: { step, because: { code, at: 'ingest' }, undos: ['releaseClaim'] } },
    ])
  })

  it('comes again when the claim fails for now, the run staying reserved', async () => {
    const claim = async () => {
      throw new Failure('GLANCE_UNREACHABLE', 'x')
    }
    const { act, only } = inSituation({ claim })
    expect(await act(started())).toMatchObject({ begun: [], failed: { code: 'GLANCE_UNREACHABLE' } })
    expect(only()).toMatchObject({ hop: 0, outcome: null })
  })

  it('parks the run when a person must look at what the claim said', async () => {
    const claim = async () => {
      throw new Failure('GLANCE_REFUSED', '403')
    }
    const { act, only } = inSituation({ claim })
    expect(await act(started())).toEqual({ begun: [], woken: [] })
    expect(only()).toMatchObject({ outcome: 'parked', code: 'GLANCE_REFUSED' })
  })
})
