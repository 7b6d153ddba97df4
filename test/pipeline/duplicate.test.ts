import { describe, expect, it } from 'vitest'
import { makeWorld, type World } from '../fakes/world.ts'
import { makeEngine, type Engine } from '../support/engine.ts'
import { oneQueuePeriod, violationsAtRest, type Leeway } from '../support/invariants.ts'
import { endOf, scenarios, type Scenario } from '../support/scenarios.ts'

/** Queues deliver at least once and in any order, and lose what they should not: the end is the same. */
const sweepMs = 60_000
const afterLoss: Leeway = { thawMs: oneQueuePeriod.thawMs + 2 * sweepMs }

describe.each(scenarios)('$name', (scenario) => {
  it('every message twice, one after the other', async () => {
    const run = begin(scenario)
    run.world.queue.harms(() => 'double')
    expect(await endsOf(run)).toEqual({ violations: [], end: scenario.ends[0] })
  })

  it('every message twice at once, whoever goes first at each call', async () => {
    const bad: string[] = []
    for (let order = 0; order < 64; order++) {
      const run = begin(scenario)
      run.world.queue.harms(() => 'double')
      let turn = 0
      const pick = (of: number) => ((order >> (turn++ % 6)) & 1) % of
      const { violations, end } = await endsOf(run, () => twinsTogether(run, pick))
      if (violations.length > 0 || !scenario.ends.includes(end))
        bad.push([`${order}: ${end}`, ...violations].join('; '))
    }
    expect(bad).toEqual([])
  })

  it('each message lost in turn', async () => {
    const bad: string[] = []
    for (const [lost, message] of (await sentIn(scenario)).entries()) {
      const run = begin(scenario, (nth) => (nth === lost ? 'lose' : null))
      const { violations, end } = await endsOf(run, undefined, afterLoss)
      // With its notification lost a take-over is never heard of, and Nova is left alone with its image.
      const isAlone = message.step === 'ingest' && /^, images: [01]$|^too late$/.test(end)
      const isGood = violations.length === 0 && (scenario.ends.includes(end) || isAlone)
      if (!isGood) bad.push([`${lost} ${message.step}: ${end}`, ...violations].join('; '))
    }
    expect(bad).toEqual([])
  })

  it('each message overtaken by each later one', async () => {
    const bad: string[] = []
    const sent = await sentIn(scenario)
    for (const [early, message] of sent.entries()) {
      for (let late = early + 1; late < sent.length; late++) {
        const run = begin(scenario, (nth) => (nth === early ? { untilSent: late } : null))
        const { violations, end } = await endsOf(run, undefined, afterLoss)
        const isAlone = message.step === 'ingest' && /^, images: [01]$|^too late$/.test(end)
        const isGood = violations.length === 0 && (scenario.ends.includes(end) || isAlone)
        if (!isGood) bad.push([`${early} ${message.step} after ${late}: ${end}`, ...violations].join('; '))
      }
    }
    expect(bad).toEqual([])
  })
})

describe('notification_format=both', () => {
  it.each(['take-over', 'tag'] as const)('one action, two notifications, one run: %s', async (kind) => {
    const world = makeWorld({ format: 'both' })
    const server = world.addServer()
    if (kind === 'tag') world.tag(server, 'snapshot')
    else world.createImage(server, { way: 'long' })
    expect(await endsOf({ world, engine: makeEngine(world), server: server.id })).toEqual({
      violations: [],
      end: 'active, images: 1',
    })
    expect(world.store.runs()).toHaveLength(1)
  })

  it('a cloud that sends legacy notifications only is served as well', async () => {
    const world = makeWorld({ format: 'legacy' })
    const server = world.addServer()
    world.createImage(server, { way: 'long' })
    const run = { world, engine: makeEngine(world), server: server.id }
    expect(await endsOf(run)).toEqual({ violations: [], end: 'active, images: 1' })
  })
})

it('a request heard once more while its run ends begins no other', async () => {
  const bad: string[] = []
  for (let order = 0; order < 512; order++) {
    const world = makeWorld()
    world.tempo.flattenMs = 2_000
    const server = world.addServer()
    world.tag(server, 'snapshot')
    const engine = makeEngine(world)
    const isEnding = () => world.queue.due().some((m) => m.sent.message.step === 'cleanup')
    while (!isEnding()) await engine.step()
    const [request] = world.queue.sent
    if (request) await world.queue.port.send(request.message)
    let turn = 0
    const pick = (of: number) => ((order >> Math.min(turn++, 8)) & 1) % of
    await engine.deliverTogether(world.queue.due(), pick)
    await engine.toRest()
    if (world.store.runs().length !== 1) bad.push(`order ${order}: ${endOf(world, server.id)}`)
  }
  expect(bad).toEqual([])
})

it('a run that is woken often does not talk more for it', async () => {
  const world = makeWorld()
  const server = world.addServer()
  world.tag(server, 'snapshot')
  for (let i = 1; i <= 10; i++) world.clock.in(i * 1_500, () => world.bus.notify('instance.resize.end', server))
  const engine = makeEngine(world)
  await engine.toRest()
  const polls = engine.meddler.calls.filter((c) => c.name === 'volumes.flatten').length
  expect(violationsAtRest(world)).toEqual([])
  expect(polls).toBeLessThanOrEqual(Math.ceil(world.tempo.flattenMs / 2_000) + 1 + 10)
})

interface Begun {
  world: World
  engine: Engine
  server: string
}

type Harm = ReturnType<Parameters<World['queue']['harms']>[0]>

/** What is harmed is counted from the first message, which the wish itself sends. */
function begin(scenario: Scenario, harm: (nth: number) => Harm = () => null): Begun {
  const { world, server } = scenario.begin((_, nth) => harm(nth))
  return { world, engine: makeEngine(world), server: server.id }
}

async function sentIn(scenario: Scenario) {
  const { world, engine } = begin(scenario)
  await engine.toRest()
  return world.queue.sent.map((s) => s.message)
}

async function endsOf({ world, engine, server }: Begun, step?: () => Promise<void>, leeway?: Leeway) {
  await engine.toRest(step)
  world.queue.showHeldBack()
  await engine.toRest(step)
  return { violations: violationsAtRest(world, leeway), end: endOf(world, server) }
}

async function twinsTogether({ world, engine }: Begun, pick: (of: number) => number): Promise<void> {
  const due = world.queue.due()
  const twins = due.filter((m) => m.body === due[0]?.body)
  return twins.length > 1 ? engine.deliverTogether(twins, pick) : engine.step()
}
