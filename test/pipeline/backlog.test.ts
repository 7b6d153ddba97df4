import { expect, it } from 'vitest'
import type { QueueStep } from '../../shared/pipeline.ts'
import { makeWorld, type World } from '../fakes/world.ts'
import { makeEngine, type Engine } from '../support/engine.ts'
import { violationsAtRest } from '../support/invariants.ts'
import { endOf } from '../support/scenarios.ts'

/** Messages that wait because all functions of their step are at work. What is not lost must not be joined by ever more of its kind. */

async function deliverAll(step: QueueStep, { world, engine }: { world: World; engine: Engine }): Promise<void> {
  for (const held of world.queue.due().filter((h) => h.sent.message.step === step)) await engine.deliver(held)
}

function tagged() {
  const world = makeWorld()
  const server = world.addServer()
  world.tag(server, 'snapshot')
  const sentOf = (step: QueueStep) => world.queue.sent.filter(({ message }) => message.step === step).length
  return { world, server, engine: makeEngine(world), sentOf }
}

it('what is heard of a server whose run waits for a place adds a copy only when the wait has doubled', async () => {
  const { world, server, engine, sentOf } = tagged()
  for (let seconds = 0; seconds < 600; seconds += 5) {
    world.bus.notify('instance.update', server)
    await deliverAll('ingest', { world, engine })
    world.clock.advanceTo(world.clock.nowMs() + 5_000)
  }
  // when it began, and after 10, 20, 40, 80, 160 and 320 seconds
  expect(sentOf('quiesce')).toBe(7)
  await engine.toRest()
  expect(violationsAtRest(world)).toEqual([])
  expect(endOf(world, server.id)).toBe('active, images: 1')
})

it('copies of a message do not become as many of the next one, which waits for a place', async () => {
  const { world, server, engine, sentOf } = tagged()
  await deliverAll('ingest', { world, engine })
  const [first] = world.queue.due()
  if (!first) throw new Error('nothing was begun')
  for (let i = 0; i < 20; i++) world.queue.duplicate(first)
  await engine.deliver(first)
  expect(sentOf('snapshot')).toBe(1)
  world.clock.advanceTo(world.clock.nowMs() + 9_000)
  await deliverAll('quiesce', { world, engine })
  expect(sentOf('snapshot')).toBe(2)
  await engine.toRest()
  expect(violationsAtRest(world)).toEqual([])
  expect(endOf(world, server.id)).toBe('active, images: 1')
})
