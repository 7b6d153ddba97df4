import { describe, expect, it } from 'vitest'
import type { Message } from '../../shared/run.ts'
import { makeEngine, type Engine } from '../support/engine.ts'
import { longestFrozenMs } from '../support/frozen.ts'
import { oneQueuePeriod, violationsAtRest, type Leeway } from '../support/invariants.ts'
import { endOf, scenarios, unheard, type Scenario } from '../support/scenarios.ts'
import type { World } from '../fakes/world.ts'
import { count, mostFrozenMs } from './tally.ts'

/** Queues deliver at least once and in any order, and lose what they should not: the end is the same. */
const sweepMs = 60_000
/** Due so long ago a message counts as lost (functions/sweep.ts); the next sweep sends it again, and it takes a moment. */
const mendedWithinMs = 30_000 + sweepMs + 5_000
const afterLoss: Leeway = { thawMs: oneQueuePeriod.thawMs + 2 * sweepMs }
/** With its notification lost a take-over is never heard of, and Nova is left alone with its image. */
const alone = /^, images: [01]$|^too late$/

type Harm = ReturnType<Parameters<World['queue']['harms']>[0]>
interface Begun {
  world: World
  engine: Engine
  server: string
  startedAtMs: number
}

describe.each(scenarios)('$name', (scenario) => {
  it('every message twice, one after the other', async () => {
    const run = begin(scenario, () => 'double')
    const wrong = await wrongOf(run, (end) => end === scenario.ends[0])
    told(scenario, 'every message twice, in turn', 1, [wrong], [run])
  })

  it('every message twice at once, whoever goes first at each call', async () => {
    const bad: (string | null)[] = []
    const runs: Begun[] = []
    for (let order = 0; order < 64; order++) {
      const run = begin(scenario, () => 'double')
      let turn = 0
      const pick = (of: number) => ((order >> (turn++ % 6)) & 1) % of
      const wrong = await wrongOf(run, isAllowed(scenario), undefined, () => twinsTogether(run, pick))
      bad.push(wrong && `order ${order}: ${wrong}`)
      runs.push(run)
    }
    told(scenario, 'every message twice, at once', 64, bad, runs)
  })

  it('each message lost in turn', async () => {
    const bad: (string | null)[] = []
    const runs: Begun[] = []
    const sent = await sentIn(scenario)
    const good = begin(scenario)
    await good.engine.toRest()
    for (const [lost, message] of sent.entries()) {
      const run = begin(scenario, (nth) => (nth === lost ? 'lose' : null))
      const wrong = await wrongOf(run, isAllowed(scenario, message), afterLoss)
      bad.push(wrong && `message ${lost} ${message.step}: ${wrong}`)
      const laterMs = endedAfterMs(run) - endedAfterMs(good)
      bad.push(laterMs > mendedWithinMs ? `message ${lost} ${message.step}: mended after ${laterMs} ms` : null)
      runs.push(run)
    }
    told(scenario, 'each message lost', sent.length, bad, runs)
  })

  it('each message overtaken by each later one', async () => {
    const bad: (string | null)[] = []
    const runs: Begun[] = []
    const sent = await sentIn(scenario)
    for (const [early, message] of sent.entries()) {
      for (let late = early + 1; late < sent.length; late++) {
        const run = begin(scenario, (nth) => (nth === early ? { untilSent: late } : null))
        const wrong = await wrongOf(run, isAllowed(scenario, message), afterLoss)
        bad.push(wrong && `message ${early} ${message.step} after ${late}: ${wrong}`)
        runs.push(run)
      }
    }
    told(scenario, 'each pair swapped', runs.length, bad, runs)
  })

  it('every notification of Nova lost: the sweep finds the request, or what there was is left alone', async () => {
    const run = begin(scenario, (_, message) =>
      message.step === 'ingest' && message.heard.is === 'notification' ? 'lose' : null,
    )
    const isTag = run.world.wishes.every((w) => w.kind === 'tag')
    const isGone = (end: string) =>
      scenario.ends.includes(end) || (scenario.name.includes('deleted') && alone.test(end))
    const isAlone = (end: string) => (scenario.road === 'policy' ? end === unheard : alone.test(end))
    const wrong = await wrongOf(run, (end) => (isTag ? isGone(end) : isAlone(end)), afterLoss)
    told(scenario, 'all notifications lost', 1, [wrong], [run])
  })
})

/** When the last of its runs had ended, since the wish; 0 when there was none. */
function endedAfterMs({ world, startedAtMs }: Begun): number {
  return Math.max(0, ...world.store.runs().map((r) => (r.endedAtMs ?? Infinity) - startedAtMs))
}

function isAllowed({ ends }: Scenario, harmed?: Message): (end: string) => boolean {
  return (end) => ends.includes(end) || (harmed?.step === 'ingest' && alone.test(end))
}

function told({ name }: Scenario, way: string, cases: number, found: (string | null)[], runs: Begun[]): void {
  const bad = found.filter((wrong) => wrong !== null)
  const frozenMs = Math.max(0, ...runs.map(({ world }) => longestFrozenMs(world)))
  count({ what: name, way, calls: 0, cases, bad: bad.length, frozenMs })
  expect(bad).toEqual([])
  expect(frozenMs).toBeLessThanOrEqual(mostFrozenMs)
}

/** What is harmed is counted from the first message, which the wish itself sends. */
function begin(scenario: Scenario, harm: (nth: number, message: Message) => Harm = () => null): Begun {
  const { world, server } = scenario.begin((message, nth) => harm(nth, message))
  return { world, engine: makeEngine(world), server: server.id, startedAtMs: world.clock.nowMs() }
}

async function sentIn(scenario: Scenario): Promise<Message[]> {
  const { world, engine } = begin(scenario)
  await engine.toRest()
  return world.queue.sent.map((s) => s.message)
}

async function wrongOf(
  { world, engine, server }: Begun,
  isGood: (end: string) => boolean,
  leeway?: Leeway,
  step?: () => Promise<void>,
): Promise<string | null> {
  await engine.toRest(step)
  world.queue.showHeldBack()
  await engine.toRest(step)
  const end = endOf(world, server)
  const wrong = [...violationsAtRest(world, leeway), ...(isGood(end) ? [] : [`it ended as: ${end}`])]
  return wrong.length === 0 ? null : wrong.join('; ')
}

async function twinsTogether({ world, engine }: Begun, pick: (of: number) => number): Promise<void> {
  const due = world.queue.due()
  const twins = due.filter((m) => m.body === due[0]?.body)
  return twins.length > 1 ? engine.deliverTogether(twins, pick) : engine.step()
}
