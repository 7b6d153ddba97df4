import { afterAll, afterEach, beforeAll, expect, it } from 'vitest'
import { claimMs } from '../../../shared/drive.ts'
import { imageOf, policyRun } from '../../../shared/names.ts'
import { policyTag } from '../../../shared/policy-tags.ts'
import { messageVersion } from '../../../shared/run.ts'
import { projects } from '../../../infra/cloud/world.ts'
import { count } from '../tally.ts'
import { pause, until } from './engines.ts'
import { lastLook, wrongWith } from './left.ts'
import { openStage, type Ids, type Stage } from './stage.ts'

/**
 * An engine sleeps (SIGSTOP) in the DELETE of an image that its policy no longer keeps, before Glance has done it or before it hears of
 * that. Another one goes on with the run, and the next event's run is over, too, when it is woken. As many images are left as are kept.
 */
let stage: Stage
beforeAll(async () => {
  stage = await openStage()
})
afterEach(() => stage.reset())
afterAll(() => stage.close())

const action = 'power_off'
const firstMs = Date.now() - 3_600_000
interface Event extends Ids {
  atMs: number
}

/** The events are minutes apart: two within ten seconds are one event in its two forms (shared/begin-policy.ts). */
function eventOf({ instance }: Ids, nth: number): Event {
  const atMs = firstMs + nth * 60_000
  const run = policyRun(instance, action, atMs)
  return { instance, run, image: imageOf(run, 1), atMs }
}

async function happen({ instance, atMs }: Event): Promise<void> {
  const event = `instance.${action}.end`
  const heard = {
    is: 'notification' as const,
    format: 'versioned' as const,
    eventType: event,
    event,
    messageId: `${instance}/${atMs}`,
    atMs,
    instance,
    project: projects.tenant,
    image: null,
    tags: null,
  }
  await stage.ports.queue.send({ v: messageVersion, step: 'ingest', tries: 0, heard })
}

const recordOf = ({ instance, run }: Ids) => stage.ports.journal.find(instance, run)
const ended = (ids: Ids) =>
  until(
    () => `run ${ids.run} ends`,
    async () => ((await recordOf(ids))?.outcome ?? null) !== null,
  )

it.each(['before', 'after'] as const)(
  'an older image whose removal slept, held up %s its effect: it is gone once, and no other',
  async (when) => {
    const heardAtFirst = stage.heard.length
    const server = await stage.addServer('clone', { tags: [policyTag(action), 'snapshot-keep:2'] })
    const oldest = eventOf(server, 0)
    const second = eventOf(server, 1)
    const third = eventOf(server, 2)
    const next = eventOf(server, 3)
    for (const one of [oldest, second]) {
      await happen(one)
      await ended(one)
    }

    const arm = () =>
      stage.cloud.faults.add({
        service: 'glance',
        method: 'DELETE',
        path: `/v2/images/${oldest.image}$`,
        when,
        does: { is: 'hold' },
        times: 1,
      })
    const trap = { ids: third, step: 'cleanup' as const, arm }
    stage.traps.push(trap)
    await happen(third)
    await until(
      () => `${stage.held()} of 1 held; said: ${JSON.stringify(stage.a.said)}`,
      () => stage.held() === 1,
    )
    await until(() => 'nothing else is asked for', stage.isStill)
    await stage.a.stop()
    stage.traps.splice(0)
    await pause(claimMs)
    await stage.again(trap)
    await ended(third)
    await happen(next)
    await ended(next)
    const before = await Promise.all([third, next].map(recordOf))

    const heardBefore = stage.heard.length
    stage.a.said.splice(0)
    stage.a.wake()
    stage.release()
    await until(
      () => 'the sleeper has said so',
      () => stage.a.said.length > 0,
    )
    const late = stage.heard.slice(heardBefore)
    const after = await Promise.all([third, next].map(recordOf))
    await until(() => 'nothing moves any more', stage.isIdle)
    await lastLook(stage)

    const wrong = [
      ...(await wrongWith(third, stage, 'active', [next.image])),
      ...(await wrongWith(next, stage, 'active', [third.image])),
    ]
    count({
      what: 'an engine that slept',
      way: 'retention',
      calls: 0,
      cases: 1,
      bad: wrong.length > 0 ? 1 : 0,
      frozenMs: 0,
    })
    expect(wrong).toEqual([])
    expect(stage.a.said.map(({ says }) => says)).toEqual(['fenced'])
    expect(after, 'the journal was written late').toEqual(before)
    expect(late, 'asked for by the sleeper').toEqual([])
    const removals = stage.heard
      .slice(heardAtFirst)
      .filter((request) => request.startsWith('glance DELETE /v2/images/'))
    const wanted = [oldest, second].map(({ image }) => `glance DELETE /v2/images/${image}`)
    expect([...new Set(removals)], 'asked to be removed').toEqual(wanted)
  },
)
