import { describe, expect, it } from 'vitest'
import { Failure } from '../../shared/failures.ts'
import { imageOf, policyRun } from '../../shared/names.ts'
import { defaultRules, type Rule } from '../../shared/rules.ts'
import { instance, nowMs, project, server } from './given.ts'
import { begun, heard, inSituation } from './given-notifications.ts'

const tag = 'snapshot-on:power_off'
const atMs = nowMs - 1_000
const off = (more = {}) => heard('instance.power_off.end', { atMs, ...more })
const legacyOff = (more = {}) =>
  off({ format: 'legacy', eventType: 'compute.instance.power_off.end', messageId: 'm-2', atMs: atMs - 24, ...more })
const stopped = (more = {}) => server({ tags: [tag], vmState: 'stopped', ...more })

describe("ingest of a policy's event", () => {
  it('begins a run that is named by server, action and the time of the event', async () => {
    const { act } = inSituation({ server: stopped() })
    const run = policyRun(instance, 'power_off', atMs)
    expect((await act(off())).begun).toMatchObject([
      {
        next: {
          step: 'quiesce',
          wish: {
            run,
            image: imageOf(run, 1),
            imageName: 'vm-clone-power_off-2026-11-23T100000',
            trigger: { is: 'policy', action: 'power_off', atMs },
            rule: 'policy',
          },
        },
      },
    ])
  })

  it.each(['instance.pause.end', 'instance.suspend.end', 'instance.soft_delete.end', 'instance.shelve.start'])(
    'serves %s',
    async (event) => {
      const action = event.split('.')[1] ?? ''
      const { act } = inSituation({ server: server({ tags: [`snapshot-on:${action}`] }) })
      expect((await act(heard(event))).begun).toHaveLength(1)
    },
  )

  it('asks Nova for the one tag, and nobody for anything else, not even the journal, when the server has no policy', async () => {
    const { act, calls, records } = inSituation({ server: server({ tags: ['snapshot-on:suspend'] }) })
    expect(await act(off())).toEqual({ begun: [], woken: [] })
    expect(calls).toEqual([`nova.bears ${instance} ${tag}`])
    expect(records.size).toBe(0)
  })

  // every server of the cloud says it once an hour: a site that wants it names it in its own rules
  it.each(['instance.power_off.start', 'instance.power_on.end', 'instance.lock', 'instance.exists'])(
    'asks nobody at %s',
    async (event) => {
      const { act, calls } = inSituation({ server: stopped() })
      expect(await act(heard(event))).toEqual({ begun: [], woken: [] })
      expect(calls).toEqual([])
    },
  )

  it('is one run in both formats, whichever comes first', async () => {
    for (const twins of [
      [off(), legacyOff()],
      [legacyOff(), off()],
    ]) {
      const { act, records } = inSituation({ server: stopped() })
      for (const twin of twins) await act(twin)
      expect(records.size).toBe(1)
    }
  })

  it('is one run when it is delivered twice, and goes on where a delivery died after the reservation', async () => {
    const situation = inSituation({ server: stopped() })
    const { begun: first } = await situation.act(off())
    expect((await situation.act(off())).begun).toHaveLength(1)
    const moved = { ...first[0]!.record, hop: 3 }
    const later = inSituation({ server: stopped(), journal: [moved] })
    expect((await later.act(off())).begun).toEqual([])
    expect(later.records.size).toBe(1)
  })

  it('is another run when the action comes again later, and none when an older event comes after a newer one', async () => {
    const { act, records } = inSituation({ server: stopped() })
    await act(off({ atMs: nowMs - 13_000 }))
    await act(off({ atMs: nowMs, messageId: 'm-3' }))
    await act(off({ atMs: nowMs - 60_000, messageId: 'm-4' }))
    expect([...records.values()].map(({ wish }) => wish.trigger)).toMatchObject([
      { atMs: nowMs - 13_000 },
      { atMs: nowMs },
    ])
  })

  it('from a host whose clock is ahead does not shut out what comes after it', async () => {
    const { act, records, clock } = inSituation({ server: stopped() })
    await act(off({ atMs: nowMs + 3_600_000 }))
    clock.ms = nowMs + 20_000
    await act(off({ atMs: nowMs + 20_000, messageId: 'm-3' }))
    expect(records.size).toBe(2)
  })

  it('from a host whose clock is ahead is one run in both formats, also when the twin is late', async () => {
    const { act, records, clock } = inSituation({ server: stopped() })
    await act(off({ atMs: nowMs + 60_000 }))
    clock.ms = nowMs + 15_000
    expect(await act(legacyOff({ atMs: nowMs + 60_024 }))).toMatchObject({
      begun: [],
      said: [expect.stringMatching(/once more/)],
    })
    expect(records.size).toBe(1)
  })

  it('that is older than the last one is said to be, so that a host whose clock lags is seen', async () => {
    const { act, records } = inSituation({ server: stopped() })
    await act(off())
    const late = await act(off({ atMs: atMs - 60_000, messageId: 'm-4' }))
    expect(late).toMatchObject({ begun: [], said: [expect.stringMatching(/older than the last/)] })
    expect(records.size).toBe(1)
  })

  it('names the image by the time at which it is made, however late the event was heard', async () => {
    const { act, only } = inSituation({ server: stopped() })
    await act(off({ atMs: nowMs - 3_600_000 }))
    expect(only()?.wish.imageName).toBe('vm-clone-power_off-2026-11-23T100000')
    const long = inSituation({ server: stopped({ name: 'n'.repeat(255) }) })
    await long.act(off())
    expect(long.only()?.wish.imageName).toMatch(/^n{227}-power_off-2026-11-23T100000$/)
  })

  it.each(['deleting', 'rebuilding', 'shelving_offloading'])(
    'begins nothing while Nova takes the disk away (%s)',
    async (taskState) => {
      const { act, records } = inSituation({ server: stopped({ taskState }) })
      expect(await act(off())).toEqual({ begun: [], woken: [] })
      expect(records.size).toBe(0)
    },
  )

  it('begins nothing when the tag went between two questions, or the server did', async () => {
    for (const found of [server({ tags: [] }), null]) {
      const { act, records } = inSituation({ server: found, bears: true })
      expect(await act(off())).toEqual({ begun: [], woken: [] })
      expect(records.size).toBe(0)
    }
  })

  it("of another project than Nova's is noted, and shuts the genuine one out neither by its run nor by its time", async () => {
    const { act, records } = inSituation({ server: stopped() })
    await act(off({ project: 'another' }))
    await act(off())
    expect([...records.values()].map(({ outcome, code }) => [outcome, code])).toEqual([
      ['rejected', 'FOREIGN_PROJECT'],
      [null, null],
    ])
  })

  it('leaves people half of what there is, and waits', async () => {
    for (const count of [
      { open: 2, since: 2 },
      { open: 0, since: 15 },
    ]) {
      const { act, records } = inSituation({ server: stopped(), count })
      expect(await act(off())).toMatchObject({ begun: [], failed: { code: 'POLICY_WAITS' } })
      expect(records.size).toBe(0)
    }
    const { act } = inSituation({ server: stopped(), count: { open: 1, since: 14 } })
    expect((await act(off())).begun).toHaveLength(1)
  })

  it('is turned away for all to see when it has waited long, once in both formats, and nothing is unwound', async () => {
    const { act, records, only } = inSituation({ server: stopped(), count: { open: 4, since: 4 } })
    expect((await act(off(), defaultRules, 7)).begun).toEqual([])
    expect((await act(legacyOff(), defaultRules, 7)).begun).toEqual([])
    expect(records.size).toBe(1)
    expect(only()).toMatchObject({ outcome: 'rejected', code: 'LIMIT_REACHED' })
  })

  it.each(['pause', 'update'])('does not serve a %s that is our own freeze', async (action) => {
    const event = action === 'update' ? 'instance.update' : `instance.${action}.end`
    const rule: Rule = { name: 'p', events: [event], then: 'policy', quiesce: 'auto', why: 'x' }
    const rules = { ...defaultRules, rules: [rule, ...defaultRules.rules] }
    const given = { server: server({ tags: [`snapshot-on:${action}`], vmState: 'paused' }) }
    const byPause = inSituation({ ...given, proves: 'crash' })
    expect((await byPause.act(heard(event), rules)).begun).toEqual([])
    expect((await inSituation(given).act(heard(event), rules)).begun).toHaveLength(1)
  })

  it('that Nova cannot be asked about comes again, and is dropped in the end: nobody is known to want it', async () => {
    const seeing = () => Promise.reject(new Failure('NOVA_UNREACHABLE', ''))
    const { act } = inSituation({ server: stopped(), seeing })
    expect(await act(off())).toMatchObject({ begun: [], failed: { code: 'NOVA_UNREACHABLE' } })
    const last = await act(off(), defaultRules, 7)
    const said = [expect.stringMatching(/not known whether .* bears snapshot-on:power_off: NOVA_UNREACHABLE/)]
    expect(last).toEqual({ begun: [], woken: [], said })
  })

  it('that Nova may not be asked about is dropped at once, and not when the policy is known to be there', async () => {
    let seeing = () => Promise.resolve()
    const { act } = inSituation({ server: stopped(), seeing: () => seeing() })
    const refused = () => Promise.reject(new Failure('NOVA_REFUSED', 'os-server-tags:show'))
    seeing = refused
    expect(await act(off())).toMatchObject({ begun: [], said: [expect.stringMatching(/NOVA_REFUSED/)] })
    seeing = () => Promise.resolve()
    await act(off())
    seeing = refused
    const later = await act(off({ atMs: nowMs + 20_000, messageId: 'm-3' }))
    expect(later).toMatchObject({ begun: [], failed: { code: 'NOVA_REFUSED' } })
  })

  it('that is also a sign that something moved is both, and a policy that fails does not keep the sign', async () => {
    const policy: Rule = {
      name: 'p',
      events: ['instance.resize_prep.start'],
      then: 'policy',
      quiesce: 'auto',
      why: 'x',
    }
    const rules = { ...defaultRules, rules: [policy, ...defaultRules.rules] }
    const asked = heard('instance.snapshot.start', { image: '56813989-0617-48bf-bca3-9bbe9caca90f' })
    const open = await begun(asked, 3, { dueAtMs: nowMs + 1 })
    const resized = heard('instance.resize_prep.start')
    const given = { journal: [open], server: server({ tags: ['snapshot-on:resize_prep'] }) }
    const both = await inSituation(given).act(resized, rules)
    expect([both.begun.length, both.woken]).toEqual([1, [open]])
    const seeing = () => Promise.reject(new Failure('NOVA_UNREACHABLE', ''))
    expect(await inSituation({ ...given, seeing }).act(resized, rules)).toMatchObject({ begun: [], woken: [open] })
  })

  it('does nothing in a project whose rules ignore it first', async () => {
    const never: Rule = { name: 'n', events: ['*'], projects: [project], then: 'ignore', quiesce: 'auto', why: 'x' }
    const { act, calls } = inSituation({ server: stopped() })
    await act(off(), { ...defaultRules, rules: [never, ...defaultRules.rules] })
    expect(calls).toEqual([])
  })
})
