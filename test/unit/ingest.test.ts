import { describe, expect, it } from 'vitest'
import { ingest } from '../../functions/ingest.ts'
import { driveIngest } from '../../shared/drive-ingest.ts'
import { Failure } from '../../shared/failures.ts'
import { imageOf, tagRun } from '../../shared/names.ts'
import type { Image } from '../../shared/ports/images.ts'
import { defaultRules, type Rule } from '../../shared/rules.ts'
import type { Heard, Message, MessageOf } from '../../shared/run.ts'
import { context, image, instance, nowMs, portsOf, project, server } from './given.ts'
import { heard, started, updated, inSituation, begun, type Situation } from './given-notifications.ts'

describe('ingest of a tag', () => {
  it('begins a run under an image of our own, named by the tag', async () => {
    const named = 'snapshot:before-upgrade'
    const { act, claims } = inSituation({ server: server({ tags: [named] }) })
    const id = tagRun(instance, named, 1)
    expect((await act(updated(named))).begun).toMatchObject([
      {
        next: {
          step: 'quiesce',
          wish: {
            run: id,
            image: imageOf(id, 1),
            imageName: 'before-upgrade',
            trigger: { is: 'tag', tag: named, epoch: 1 },
          },
        },
      },
    ])
    expect(claims).toEqual([])
  })

  it('names the image after the server and the time when the tag says no name', async () => {
    const { act, only } = inSituation()
    await act(updated('snapshot'))
    expect(only()?.wish.imageName).toBe('vm-clone-2026-11-23T100000')
  })

  it('begins one run for each tag that asks', async () => {
    const tags = ['snapshot', 'snapshot:a', 'gold']
    const { act } = inSituation({ server: server({ tags }) })
    expect((await act(updated(...tags))).begun.map((b) => b.record.wish.trigger)).toMatchObject([
      { tag: 'snapshot' },
      { tag: 'snapshot:a' },
    ])
  })

  it('keeps the limits within one notification, however many tags are in it', async () => {
    const tags = Array.from({ length: 50 }, (_, i) => `snapshot:${i}`)
    const { act } = inSituation({ server: server({ tags }) })
    const next = (await act(updated(...tags))).begun.map((b) => b.next?.step)
    expect(next.filter((step) => step === 'quiesce')).toHaveLength(defaultRules.limits.instance.open)
    expect(next.filter((step) => step === 'unwind')).toHaveLength(46)
  })

  it('asks Glance for one thing at a time, however many tags there are', async () => {
    const tags = ['snapshot:a', 'snapshot:b', 'snapshot:c']
    let now = 0
    let most = 0
    const finding = async () => {
      now += 1
      most = Math.max(most, now)
      await Promise.resolve()
      now -= 1
    }
    await inSituation({ server: server({ tags }), finding }).act(updated(...tags))
    expect(most).toBe(1)
  })

  it('what was begun before Nova went away goes on, and the notification comes again for the rest', async () => {
    const tags = ['snapshot:a', 'snapshot:b', 'snapshot:c']
    let asked = 0
    const seeing = async () => {
      asked += 1
      if (asked === 3) throw new Failure('NOVA_UNREACHABLE', '')
    }
    const { act } = inSituation({ server: server({ tags }), seeing })
    const ingested = await act(updated(...tags))
    expect(ingested).toMatchObject({ begun: [{}, {}], failed: { code: 'NOVA_UNREACHABLE' } })
    const sent: Message[] = []
    const { ports } = portsOf({
      queue: { send: async (message) => void sent.push(message) },
      journal: { save: async (r) => r },
    })
    const message = { v: 1, step: 'ingest', tries: 0, heard: updated(...tags) } as const
    await driveIngest(message, async () => ingested, ports, context())
    expect(sent.map((m) => m.step)).toEqual(['quiesce', 'quiesce', 'ingest'])
    expect(sent.at(-1)).toMatchObject({ tries: 1 })
  })

  it('what was dropped, and why, is in the words for the log', async () => {
    const { ports } = portsOf({})
    const message = { v: 1, step: 'ingest', tries: 0, heard: updated('snapshot') } as const
    const ingested = { begun: [], woken: [], said: ['an event older than the last one'] }
    const carried = await driveIngest(message, async () => ingested, ports, context())
    expect(carried).toEqual({ says: 'nothing to do; an event older than the last one' })
  })

  it('is asked for again while Nova is away, for three hours, and only then set aside', async () => {
    let queued: { message: Message; delayMs: number } | null = null
    const aside: unknown[] = []
    const { ports } = portsOf({
      queue: { send: async (message, delayMs = 0) => void (queued = { message, delayMs }) },
      journal: { park: async (parked) => void aside.push(parked) },
    })
    const away = () => Promise.reject(new Failure('NOVA_UNREACHABLE', 'ECONNREFUSED'))
    const pausesMs: number[] = []
    let message: MessageOf<'ingest'> | null = { v: 1, step: 'ingest', tries: 0, heard: updated('snapshot') }
    while (message) {
      queued = null
      await driveIngest(message, away, ports, context())
      const next = queued as { message: Message; delayMs: number } | null
      if (next) pausesMs.push(next.delayMs)
      message = next?.message.step === 'ingest' ? next.message : null
    }
    expect(pausesMs.slice(0, 8)).toEqual([2_000, 4_000, 8_000, 16_000, 32_000, 64_000, 120_000, 120_000])
    const hours = pausesMs.reduce((sum, ms) => sum + ms, 0) / 3_600_000
    expect(hours).toBeCloseTo(3, 1)
    expect(aside).toMatchObject([{ code: 'NOVA_UNREACHABLE' }])
  })

  it('begins nothing when the server bears it no longer', async () => {
    const { act, records } = inSituation({ server: server({ tags: [] }) })
    expect(await act(updated('snapshot'))).toEqual({ begun: [], woken: [] })
    expect(records.size).toBe(0)
  })

  it('begins nothing twice while its run goes on, and another when it is set again after that', async () => {
    const first = await begun(updated('snapshot'), 1)
    const during = inSituation({ journal: [first], epoch: 1 })
    expect((await during.act(updated('snapshot'))).begun).toEqual([])
    const later = inSituation({ journal: [{ ...first, outcome: 'active' }], epoch: 2 })
    const { begun: second } = await later.act(updated('snapshot'))
    expect(second[0]?.record.wish.run).toBe(tagRun(instance, 'snapshot', 2))
    expect(second[0]?.record.wish.image).not.toBe(first.wish.image)
  })

  it('goes on where a delivery died after the reservation, even if the tag is gone since', async () => {
    const situation = inSituation({ journal: [await begun(updated('snapshot'), 0)], server: server({ tags: [] }) })
    expect((await situation.act(updated('snapshot'))).begun).toMatchObject([{ next: { step: 'quiesce' } }])
  })

  it('begins nothing while its run is parked, be it at the door', async () => {
    for (const hop of [0, 4]) {
      const situation = inSituation({ journal: [await begun(updated('snapshot'), hop, { outcome: 'parked' })] })
      expect((await situation.act(updated('snapshot'))).begun).toEqual([])
      expect(situation.records.size).toBe(1)
    }
  })

  it('that the sweep found is served like one that was heard', async () => {
    const found: Heard = { is: 'tagged', instance, project, tag: 'snapshot' }
    const { act } = inSituation()
    expect((await act(found)).begun[0]?.record.wish.run).toBe(tagRun(instance, 'snapshot', 1))
  })

  it('that the sweep found is of no use when no rule serves tags', async () => {
    const { act } = inSituation()
    const rules = { ...defaultRules, rules: defaultRules.rules.filter((rule) => rule.then !== 'tag') }
    expect(await act({ is: 'tagged', instance, project, tag: 'snapshot' }, rules)).toEqual({ begun: [], woken: [] })
  })

  it('that the sweep found goes by the rules, as the notification that was lost would have', async () => {
    const found: Heard = { is: 'tagged', instance, project, tag: 'snapshot' }
    const rule: Rule = { name: 'gold', events: ['instance.update'], then: 'tag', quiesce: 'require', why: 'x' }
    const withRules = (...rules: Rule[]) => ({ ...defaultRules, rules: [...rules, ...defaultRules.rules] })
    const ignored = inSituation()
    const never: Rule = { ...rule, projects: [project], then: 'ignore' }
    expect(await ignored.act(found, withRules(never))).toEqual({ begun: [], woken: [] })
    const elsewhere = inSituation()
    await elsewhere.act(found, withRules({ ...rule, projects: ['another'] }))
    expect(elsewhere.only()?.wish).toMatchObject({ rule: 'tag', quiesce: 'auto' })
    const first = inSituation()
    await first.act(found, withRules(rule))
    expect(first.only()?.wish).toMatchObject({ rule: 'gold', quiesce: 'require' })
    const others = inSituation()
    await others.act(found, { ...defaultRules, rules: [{ ...rule, events: ['instance.create.end'] }] })
    expect(others.records.size).toBe(0)
  })

  const id = tagRun(instance, 'snapshot', 1)
  const under = (attempt: number, more: Partial<Image>) => image({ id: imageOf(id, attempt), properties: {}, ...more })

  it.each([
    ['the second, when somebody has made an image under the first', 2, [under(1, { owner: 'another' })]],
    ['the second, when his image bears our mark', 2, [under(1, { owner: 'another', properties: { rbdsnap_run: id } })]],
    ['the third, when he has two', 3, [under(1, {}), under(2, {})]],
    ['the first, when the image is our own', 1, [under(1, { properties: { rbdsnap_run: id } })]],
    ['the first, when he has them all: it is refused for all to see', 1, [under(1, {}), under(2, {}), under(3, {})]],
  ])('takes an image id that is free: %s', async (_which, attempt, occupied) => {
    const { act, only } = inSituation({ occupied })
    await act(updated('snapshot'))
    expect(only()?.wish.image).toBe(imageOf(id, attempt))
  })

  it('does not wait for Glance to choose one', async () => {
    const { ports } = portsOf({
      compute: { find: async () => server({ tags: ['snapshot'] }) },
      images: { find: () => Promise.reject(new Failure('GLANCE_UNREACHABLE', 'x')) },
      journal: {
        find: async () => null,
        tagEpoch: async () => 1,
        reserve: async (record) => ({ record, isNew: true }),
        countOf: async () => ({ open: 0, since: 0 }),
      },
    })
    const message = { v: 1, step: 'ingest', tries: 0, heard: updated('snapshot') } as const
    const { begun: made } = await ingest(message, ports, context())
    expect(made[0]?.record.wish.image).toBe(imageOf(id, 1))
  })

  it('asks Glance once for an id, and not again for a run that has one', async () => {
    const usual = inSituation()
    await usual.act(updated('snapshot'))
    expect(usual.calls.filter((call) => call.startsWith('glance'))).toEqual([`glance.find ${imageOf(id, 1)}`])
    const again = inSituation({ journal: [await begun(updated('snapshot'), 0)] })
    expect((await again.act(updated('snapshot'))).begun).toHaveLength(1)
    expect(again.calls.filter((call) => call.startsWith('glance'))).toEqual([])
  })

  it.each<[string, Situation, string]>([
    [
      'the notification names another project than Nova does',
      { server: server({ project: 'another', tags: ['snapshot'] }) },
      'FOREIGN_PROJECT',
    ],
    ['Nova does not know the instance', { server: null }, 'INSTANCE_GONE'],
  ])('does nothing but note it when %s', async (_when, situation, code) => {
    const { act, only } = inSituation(situation)
    expect((await act(updated('snapshot'))).begun).toEqual([])
    expect(only()).toMatchObject({ outcome: 'rejected', code })
  })

  it('notes nothing more when a request is heard again of an instance that is gone, whose tag nobody can take off', async () => {
    const served = { ...(await begun(updated('snapshot'), 7)), outcome: 'active' as const }
    const { act, records } = inSituation({ server: null, journal: [served], epoch: 2 })
    expect(await act(updated('snapshot'))).toEqual({ begun: [], woken: [] })
    expect(records.size).toBe(1)
  })

  it.each([
    [{ open: 4, since: 4 }, `instance ${instance} has 4 snapshots in the making.`],
    [{ open: 0, since: 30 }, `instance ${instance} made 30 in the last hour.`],
  ])('over the limit (%j) is turned away for all to see: the tag is taken off again', async (count, words) => {
    const { act } = inSituation({ count })
    expect((await act(updated('snapshot'))).begun).toMatchObject([
      { next: { step: 'unwind', undos: [], because: { code: 'LIMIT_REACHED', words, at: 'ingest' } } },
    ])
  })
})

describe('the limits', () => {
  it('count the instance and its project over the last hour', async () => {
    const asked: unknown[] = []
    const { ports } = portsOf({
      compute: { find: async () => server({ tags: ['snapshot'] }) },
      images: { find: async () => null },
      journal: {
        find: async () => null,
        tagEpoch: async () => 1,
        reserve: async (record) => ({ record, isNew: true }),
        countOf: async (by, sinceMs) => {
          asked.push([by, sinceMs])
          return { open: 'project' in by ? 100 : 0, since: 0 }
        },
      },
    })
    const { begun: made } = await ingest(
      { v: 1, step: 'ingest', tries: 0, heard: updated('snapshot') },
      ports,
      context(),
    )
    expect(asked).toEqual([
      [{ instance }, nowMs - 3_600_000],
      [{ project }, nowMs - 3_600_000],
    ])
    expect(made).toMatchObject([
      { next: { because: { words: `project ${project} has 100 snapshots in the making.` } } },
    ])
  })
})

describe('ingest of anything else', () => {
  it('wakes the runs of the instance that wait for their time when something moved, and no others', async () => {
    const waiting = await begun(started(), 3, { dueAtMs: nowMs + 1 })
    const due = await begun(updated('snapshot'), 3, { dueAtMs: nowMs })
    const { act, calls } = inSituation({ journal: [waiting, due] })
    expect(await act(heard('instance.delete.start'))).toEqual({ begun: [], woken: [waiting] })
    expect(calls).toEqual([`journal.openOf ${instance}`])
  })

  it('asks nobody when it is no request', async () => {
    const { act, calls } = inSituation()
    expect(await act(heard('instance.lock'))).toEqual({ begun: [], woken: [] })
    expect(calls).toEqual([])
  })

  it('keeps what cannot be read, once, with why', async () => {
    const { act, parked } = inSituation()
    const body: Heard = { is: 'unreadable', text: '{', why: 'not JSON' }
    expect(await act(body)).toEqual({ begun: [], woken: [] })
    await act(body)
    expect(parked).toHaveLength(2)
    expect(new Set(parked.map((p) => p.id)).size).toBe(1)
    expect(parked[0]).toMatchObject({ code: 'BAD_NOTIFICATION', words: 'not JSON', body: '{', atMs: nowMs })
  })
})
