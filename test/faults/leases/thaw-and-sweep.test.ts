import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { instanceLease } from '../../../shared/freeze.ts'
import { imageOf, novaDisk, properties, tagRun } from '../../../shared/names.ts'
import type { RunRecord } from '../../../shared/ports/journal.ts'
import { requestTag } from '../../../shared/rules.ts'
import { messageVersion, type Message } from '../../../shared/run.ts'
import { settleAfterMs } from '../../../shared/settle.ts'
import { count } from '../tally.ts'
import { until } from './engines.ts'
import { ask, lastLook, wrongWith } from './left.ts'
import { openStage, type Ids, type Stage } from './stage.ts'

/**
 * The thaw and the sweep have no claim: two of them at once is nothing new. Here one sleeps (SIGSTOP) in the middle until the other
 * has done the same and the next run of the same server is under way.
 */
const whens = ['before', 'after'] as const
const sweepNow: Message = { v: messageVersion, step: 'sweep' }

let stage: Stage
beforeAll(async () => {
  stage = await openStage()
})
afterEach(() => stage.reset())
afterAll(() => stage.close())

const heldAre = (many: number) =>
  until(
    () => `${stage.held()} of ${many} held`,
    () => stage.held() === many,
  )
const recordOf = ({ instance, run }: Ids) => stage.ports.journal.find(instance, run)
const ended = (ids: Ids) =>
  until(
    () => `run ${ids.run} ends`,
    async () => ((await recordOf(ids))?.outcome ?? null) !== null,
  )
/** SIGCONT, and what it had asked for goes on; it has said what became of that. */
async function woken(step: 'thaw' | 'sweep', release: () => void): Promise<void> {
  stage.a.said.splice(0)
  stage.a.wake()
  release()
  await until(
    () => 'the sleeper has said so',
    () => stage.a.said.some((s) => s.step === step),
  )
}
const sweepOf = (engine: 'a' | 'b') => stage[engine].deliver('sweep', JSON.stringify(sweepNow))

async function told(way: string, ids: Ids, other?: Ids): Promise<void> {
  await until(() => 'nothing moves any more', stage.isIdle)
  await lastLook(stage)
  const wrong = await wrongWith(ids, stage, 'active', other ? [other.image] : [])
  count({ what: 'an engine that slept', way, calls: 0, cases: 1, bad: wrong.length === 0 ? 0 : 1, frozenMs: 0 })
  expect(wrong).toEqual([])
}

describe.each(whens)('held up %s the effect', (when) => {
  it('a thaw that comes in the window of the next run: its lease stands, and its verdict says what the bytes say', async () => {
    const ids = await stage.addServer('clone', { tags: [] })
    const key = instanceLease(ids.instance)
    const at = { instance: ids.instance, host: null }
    const { leases, guest, queue } = stage.ports
    // as a function left it that froze the guest and died
    const now = Date.now()
    const lease = await leases.take(key, ids.run, now, now + 60_000)
    if (!lease) throw new Error('the lease of a new server was taken')
    await leases.save({ ...lease, freeze: { askedAtMs: now, isConfirmed: true, host: null } })
    await guest.freeze(at, Infinity, AbortSignal.timeout(10_000))
    const arm = () => stage.guests.get(ids.instance)?.arm('guest-fsfreeze-thaw', when)
    const trap = { ids, step: 'thaw' as const, arm }
    stage.traps.push(trap)
    await queue.send({ v: messageVersion, step: 'thaw', instance: ids.instance, epoch: lease.epoch })
    await heldAre(1)
    await stage.a.stop()
    stage.traps.splice(0)
    await stage.again(trap)
    expect(await leases.find(key)).toMatchObject({ freeze: null, thawed: { epoch: lease.epoch } })

    const path = `vms/${ids.instance}_disk/snap$`
    stage.cloud.faults.add({
      service: 'dashboard',
      method: 'POST',
      path,
      when: 'before',
      does: { is: 'hold' },
      times: 1,
    })
    tagAgain(ids)
    await ask(stage, ids)
    await heldAre(2)
    const open = await leases.find(key)
    expect(open?.freeze).not.toBeNull()
    await woken('thaw', () => stage.guests.get(ids.instance)?.release())
    expect(await leases.find(key), 'the lease of the next run was written late').toEqual(open)
    expect(stage.cloud.guests.find(ids.instance)?.isFrozen).toBe(when === 'after')

    stage.cloud.faults.release()
    await ended(ids)
    const image = stage.cloud.glance.all().find((i) => i.id === ids.image)
    expect(image?.properties[properties.consistency]).toBe(when === 'before' ? 'crash' : 'filesystem')
    await told('thaw', ids)
  })

  it('a sweep that sends again what another has sent since: one image', async () => {
    const ids = await stage.addServer('clone')
    const lost = await loseFirst(ids)
    await stage.ports.journal.save(longDue(lost))
    stage.queue.arm(`"wish":{"run":"${ids.run}`.replaceAll('"', '\\"'), when)
    void sweepOf('a')
    await heldAre(1)
    await stage.a.stop()
    // half a minute later it counts as lost again
    const noted = await recordOf(ids)
    if (noted?.outcome === null) await stage.ports.journal.save(longDue(noted))
    await sweepOf('b')
    await ended(ids)
    const before = await recordOf(ids)
    await woken('sweep', stage.release)
    await until(() => 'nothing moves any more', stage.isIdle)
    expect(await recordOf(ids), 'the journal was written late').toEqual(before)
    await told('sweep', ids)
  })

  it('a last look that removes what another has removed since: the next run of that disk keeps its own', async () => {
    const ids = await stage.addServer('clone')
    await ask(stage, ids)
    await ended(ids)
    const first = await recordOf(ids)
    if (!first) throw new Error(`run ${ids.run} is not in the journal`)
    const { pool, image } = novaDisk('vms', ids.instance)
    await stage.cloud.clusters.a.snapCreate(pool, image, `rbdsnap-${ids.run}`)
    await stage.ports.journal.save({ ...first, endedAtMs: Date.now() - settleAfterMs - 1_000 })
    const path = `vms/${ids.instance}_disk/snap/rbdsnap-${ids.run}$`
    stage.cloud.faults.add({ service: 'dashboard', method: 'DELETE', path, when, does: { is: 'hold' }, times: 1 })
    void sweepOf('a')
    await heldAre(1)
    await stage.a.stop()
    await sweepOf('b')
    expect((await recordOf(ids))?.undos).toEqual([])

    const next = await nextOf(ids)
    stage.cloud.faults.add({
      service: 'dashboard',
      method: 'POST',
      path: 'clone$',
      when: 'before',
      does: { is: 'hold' },
      times: 1,
    })
    tagAgain(next)
    await ask(stage, next)
    await heldAre(2)
    const before = await recordOf(ids)
    await woken('sweep', stage.release)
    expect(await recordOf(ids), 'the journal was written late').toEqual(before)
    await ended(next)
    expect((await recordOf(next))?.timeline.map((s) => [s.step, s.tries])).toContainEqual(['clone', 1])
    await told('sweep', ids, next)
    await told('sweep', next, ids)
  })
})

function tagAgain({ instance }: Ids): void {
  const server = stage.cloud.nova.get(instance)
  stage.cloud.nova.instances.put(instance, { ...server, tags: [requestTag] })
}

async function nextOf({ instance }: Ids): Promise<Ids> {
  const run = tagRun(instance, requestTag, 2)
  return { instance, run, image: imageOf(run, 1) }
}

/** Reserved, its first message sent, and lost. */
async function loseFirst(ids: Ids): Promise<RunRecord> {
  const never = { ...ids, instance: 'nobody' }
  const swallow = { ids, step: 'quiesce' as const, arm: () => undefined, body: undefined as string | undefined }
  stage.traps.push(swallow, { ids: never, step: 'quiesce', arm: () => undefined })
  await ask(stage, ids)
  await until(
    () => 'its first message',
    () => swallow.body !== undefined,
  )
  stage.traps.splice(0)
  const record = await recordOf(ids)
  if (!record) throw new Error(`run ${ids.run} was not reserved`)
  return record
}

const longDue = (record: RunRecord): RunRecord => {
  const longAgoMs = Date.now() - 100_000
  return { ...record, dueAtMs: longAgoMs, updatedAtMs: longAgoMs }
}
