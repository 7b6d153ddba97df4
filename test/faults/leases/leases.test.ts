import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import type { DiskKind } from '../../../infra/cloud/servers.ts'
import type { QueueStep } from '../../../shared/pipeline.ts'
import { claimMs } from '../../../shared/drive.ts'
import { count } from '../tally.ts'
import { pause, until } from './engines.ts'
import { ask, lastLook, wrongWith } from './left.ts'
import { openStage, type Ids, type Stage, type Trap } from './stage.ts'

/**
 * Two engines on one journal, both real processes with the real clock and the real claim. The first one is held up in the middle
 * of a step, before the request that it makes takes effect or before it hears of it, and stopped (SIGSTOP). The second one is given
 * the same message: in vain while the claim lasts, and after it to the run's end. Then the first one is woken (SIGCONT), and
 * what it had asked for takes effect, or is answered.
 */
interface Hold {
  name: string
  /** holds up the next such request, before its effect or after it */
  arm: (stage: Stage, ids: Ids, when: When) => void
  disk?: DiskKind
  rung?: Trap['rung']
  /** what the sleeper says when it has woken, if it is not that its claim is lost */
  says?: RegExp
}
type When = (typeof whens)[number]
const whens = ['before', 'after'] as const

const cloud = (name: string, service: string, method: string, path: (ids: Ids) => string): Hold => ({
  name,
  arm: (stage, ids, when) =>
    stage.cloud.faults.add({ service, method, path: path(ids), when, does: { is: 'hold' }, times: 1 }),
})
const guest = (words: string): Hold => ({
  name: words,
  arm: (stage, { instance }, when) => stage.guests.get(instance)?.arm(words, when),
})
const queue = (name: string, words: (ids: Ids) => string): Hold => ({
  name,
  arm: (stage, ids, when) => stage.queue.arm(words(ids).replaceAll('"', '\\"'), when),
})
const ceph = (name: string, method: string, path: (ids: Ids) => string) => cloud(name, 'dashboard', method, path)
const glance = (name: string, method: string, path: (ids: Ids) => string) => cloud(name, 'glance', method, path)
const nova = (name: string, method: string, path: (ids: Ids) => string) => cloud(name, 'nova', method, path)

const disk = ({ instance }: Ids) => `vms/${instance}_disk`
const askServer = nova('the server asked for', 'GET', ({ instance }) => `/servers/${instance}$`)
const dropTag = nova('the tag taken off', 'DELETE', ({ instance }) => `${instance}/tags/snapshot$`)
const dropSource = ceph('the source snapshot removed', 'DELETE', (ids) => `${disk(ids)}/snap/rbdsnap-`)
/** The request names no image, so whoever comes first is held: these are alone on their stage. */
const makeRecord = glance('the record made', 'POST', () => '^/v2/images$')
/** Noted before it is sent: nobody has the claim any more. */
const sendNext: Hold = {
  ...queue('the next message sent', ({ run }) => `"wish":{"run":"${run}`),
  says: /^(moved on|again later)$/,
}

/** It finds the run made already, or its own time over. */
const door = /^(begun|nothing to do|again later)/

interface Batch {
  step: QueueStep
  holds: Hold[]
  disk?: DiskKind
  rung?: Trap['rung']
  wanted: 'active' | 'fallback' | 'rejected'
  /** no image may be made in the tenant's project */
  isQuotaUsedUp?: boolean
}
const batches: Batch[] = [
  {
    step: 'ingest',
    holds: [
      { ...askServer, says: door },
      { ...sendNext, says: door },
    ],
    wanted: 'active',
  },
  {
    step: 'quiesce',
    holds: [
      askServer,
      queue('the thaw armed', ({ instance }) => `"step":"thaw","instance":"${instance}`),
      guest('guest-fsfreeze-freeze'),
      sendNext,
    ],
    wanted: 'active',
  },
  {
    step: 'snapshot',
    holds: [
      guest('guest-fsfreeze-status'),
      ceph('the snapshot made', 'POST', (ids) => `${disk(ids)}/snap$`),
      guest('guest-fsfreeze-thaw'),
      sendNext,
    ],
    wanted: 'active',
  },
  {
    step: 'clone',
    holds: [
      ceph('the source protected', 'PUT', (ids) => `${disk(ids)}/snap/rbdsnap-`),
      ceph('the clone made', 'POST', (ids) => `${disk(ids)}/snap/rbdsnap-[^/]*/clone$`),
    ],
    wanted: 'active',
  },
  {
    step: 'clone',
    holds: [
      ceph('its snap made', 'POST', ({ image }) => `images/${image}/snap$`),
      ceph('its snap protected', 'PUT', ({ image }) => `images/${image}/snap/snap$`),
      sendNext,
    ],
    wanted: 'active',
  },
  { step: 'clone', holds: [makeRecord], wanted: 'active' },
  {
    step: 'register',
    holds: [glance('the location added', 'PATCH', ({ image }) => `/v2/images/${image}$`), sendNext],
    wanted: 'active',
  },
  {
    step: 'flatten',
    holds: [ceph('the clone flattened', 'POST', ({ image }) => `images/${image}/flatten$`), sendNext],
    wanted: 'active',
  },
  {
    step: 'cleanup',
    holds: [dropSource, glance('the verdict written', 'PATCH', ({ image }) => `/v2/images/${image}$`), dropTag],
    wanted: 'active',
  },
  {
    step: 'fallback',
    disk: 'no-layering',
    rung: 'copy',
    holds: [
      ceph('the copy made', 'POST', (ids) => `${disk(ids)}/copy$`),
      ceph('the copy named', 'PUT', ({ run }) => `images/rbdsnap-${run}-copy$`),
      ceph('its snap made', 'POST', ({ image }) => `images/${image}/snap$`),
      sendNext,
    ],
    wanted: 'fallback',
  },
  { step: 'fallback', disk: 'other-cluster', rung: 'upload', holds: [makeRecord], wanted: 'fallback' },
  {
    step: 'fallback',
    disk: 'other-cluster',
    rung: 'upload',
    holds: [glance('the bytes sent', 'PUT', ({ image }) => `/v2/images/${image}/file$`), sendNext],
    wanted: 'fallback',
  },
  {
    step: 'unwind',
    isQuotaUsedUp: true,
    holds: [ceph('the clone removed', 'DELETE', ({ image }) => `images/${image}$`), dropSource, dropTag],
    wanted: 'rejected',
  },
]

const titleOf = ({ step, rung, holds }: Batch) =>
  `${step}${rung === undefined ? '' : ` (${rung})`}: ${holds.map((h) => h.name).join(', ')}`

describe('an engine that slept beyond its claim', () => {
  let stage: Stage
  beforeAll(async () => {
    stage = await openStage()
  })
  afterEach(() => stage.reset())
  afterAll(() => stage.close())

  it.each(batches.map((batch) => [titleOf(batch), batch] as const))('%s', async (_, batch) => {
    const cases = await Promise.all(
      batch.holds.flatMap((hold) => whens.map(async (when) => ({ hold, when, ids: await wish(stage, batch) }))),
    )
    stage.cloud.glance.set({ maxImagesPerProject: batch.isQuotaUsedUp ? 1 : 0 })
    const traps = cases.map(({ hold, when, ids }): Trap => {
      const { step, rung } = batch
      return { ids, step, ...(rung === undefined ? {} : { rung }), arm: () => hold.arm(stage, ids, when) }
    })
    stage.traps.push(...traps)
    for (const { ids } of cases) await ask(stage, ids)

    const sayHeld = () =>
      `${stage.held()} of ${cases.length} held; not yet: ${JSON.stringify(stage.cloud.faults.list().filter((f) => f.times > 0))}; said: ${JSON.stringify(stage.a.said)}`
    await until(sayHeld, () => stage.held() === cases.length)
    // What a step does beside what is held has come to its end: nothing that was decided on already is sent when it wakes.
    await until(() => 'nothing else is asked for', stage.isStill)
    await stage.a.stop()
    stage.traps.splice(0)
    await inVain(stage, traps)
    await pause(claimMs)
    await Promise.all(traps.map((trap) => stage.again(trap)))
    const recordOf = ({ instance, run }: Ids) => stage.ports.journal.find(instance, run)
    await until(
      () => 'every run has ended',
      async () => {
        const records = await Promise.all(cases.map(({ ids }) => recordOf(ids)))
        return records.every((r) => r !== null && r.outcome !== null)
      },
    )
    const before = await Promise.all(cases.map(({ ids }) => recordOf(ids)))

    const heardBefore = stage.heard.length
    stage.a.said.splice(0)
    stage.a.wake()
    stage.release()
    await until(sayHeld, () => stage.a.said.length >= cases.length)
    const late = stage.heard.slice(heardBefore)
    const after = await Promise.all(cases.map(({ ids }) => recordOf(ids)))
    await until(() => 'nothing moves any more', stage.isIdle)
    await lastLook(stage)

    const bad: string[] = []
    for (const [nth, { hold, when, ids }] of cases.entries()) {
      const wrong = await wrongWith(ids, stage, batch.wanted)
      // an ingest that finds the run made already names none
      const said = stage.a.said.filter((s) => (s.run ?? ids.run) === ids.run)
      const wanted = hold.says ?? /^fenced$/
      if (!said.some(({ says }) => wanted.test(says))) wrong.push(`it said ${JSON.stringify(said)}`)
      if (JSON.stringify(before[nth]) !== JSON.stringify(after[nth])) wrong.push('the journal was written late')
      if (wrong.length > 0) bad.push(`${hold.name}, ${when}: ${wrong.join('; ')}`)
    }
    // longer budgets than elsewhere: each freeze is held against its own (left.ts)
    count({
      what: 'an engine that slept',
      way: batch.step,
      calls: 0,
      cases: cases.length,
      bad: bad.length,
      frozenMs: 0,
    })
    expect(bad).toEqual([])
    // the door has no claim: it reads what has become of its wish
    const mayRead = batch.step === 'ingest'
    expect(
      late.filter((request) => !mayRead || !request.includes(' GET ')),
      'asked for by the sleeper',
    ).toEqual([])
  })
})

async function wish(stage: Stage, { disk: kind = 'clone' }: Batch): Promise<Ids> {
  return stage.addServer(kind)
}

/** While the claim lasts nobody else may begin. */
async function inVain(stage: Stage, traps: Trap[]): Promise<void> {
  for (const { ids, step, body = '' } of traps) {
    const record = await stage.ports.journal.find(ids.instance, ids.run)
    const { hop } = JSON.parse(body) as { hop: number }
    // half a second, or it may be over before it is looked at
    const claim = record?.claim
    if (!claim || claim.hop !== hop || claim.untilMs < Date.now() + 500) continue
    expect(await stage.b.deliver(step, body), 'a second engine began while the claim held').toBe(false)
  }
}
