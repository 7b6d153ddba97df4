import { describe, expect, it } from 'vitest'
import { makeWorld, type World } from '../fakes/world.ts'
import { makeEngine, type Engine } from '../support/engine.ts'
import { violationsAtRest } from '../support/invariants.ts'
import { endOf } from '../support/scenarios.ts'

/** One wish heard more than once. Every message twice, swapped and lost: test/faults/delivery.test.ts. */
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

async function endsOf({ world, engine, server }: Begun) {
  await engine.toRest()
  return { violations: violationsAtRest(world), end: endOf(world, server) }
}
