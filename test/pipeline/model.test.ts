import fc from 'fast-check'
import { expect, it } from 'vitest'
import type { Server } from '../../shared/ports/compute.ts'
import { tagWishes } from '../../shared/rules.ts'
import type { Message } from '../../shared/run.ts'
import type { NovaPlan } from '../fakes/nova.ts'
import { makeWorld, type World } from '../fakes/world.ts'
import { makeEngine, type Engine } from '../support/engine.ts'
import { callWays, type Way } from '../support/faults.ts'
import { oneQueuePeriod, violationsAlways, violationsAtRest } from '../support/invariants.ts'

/**
 * Anything in any order: wishes, deliveries late, twice, at once or never, functions that die, Nova, Ceph, guests and owners
 * doing what they do. The invariants hold after each of them, and when it is quiet again everything has ended.
 */
type Op =
  | { do: 'tag'; server: number; name: string }
  | { do: 'createImage'; server: number; plan: Partial<NovaPlan> }
  | { do: 'steps'; times: number }
  | { do: 'deliver' | 'duplicate' | 'lose'; which: number }
  | { do: 'together'; order: number }
  | { do: 'break'; inCalls: number; kind: Way }
  | { do: 'outage'; ms: number }
  | { do: 'deleteServer' | 'novaFails' | 'agentDies' | 'agentLives' | 'stop'; server: number }
  | { do: 'deleteImage'; which: number }
  | { do: 'managerDies'; leaves: World['tempo']['halfMade'] }

const server = fc.nat({ max: 2 })
const which = fc.nat({ max: 5 })
const op = fc.oneof<fc.WeightedArbitrary<Op>[]>(
  {
    weight: 3,
    arbitrary: fc.record({ do: fc.constant('tag'), server, name: fc.constantFrom('snapshot', 'snapshot:a') }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constant('createImage'),
      server,
      plan: fc.record({
        way: fc.constantFrom('direct', 'long'),
        flattenFails: fc.boolean(),
        startMs: fc.nat({ max: 1_000 }),
        flattenMs: fc.nat({ max: 20_000 }),
      }),
    }),
  },
  { weight: 8, arbitrary: fc.record({ do: fc.constant('steps'), times: fc.integer({ min: 1, max: 12 }) }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constantFrom('deliver', 'duplicate'), which }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('lose'), which }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('together'), order: fc.nat() }) },
  {
    weight: 3,
    arbitrary: fc.record({
      do: fc.constant('break'),
      inCalls: fc.nat({ max: 40 }),
      kind: fc.constantFrom(...callWays),
    }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('outage'), ms: fc.nat({ max: 40_000 }) }) },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constantFrom('deleteServer', 'novaFails', 'agentDies', 'agentLives', 'stop'),
      server,
    }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('deleteImage'), which }) },
  {
    weight: 1,
    arbitrary: fc.record({
      do: fc.constant('managerDies'),
      leaves: fc.constantFrom(null, 'no-parent', 'unknown-child', 'unopenable'),
    }),
  },
)

it('whatever happens in whatever order, what must never happen does not', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(op, { minLength: 4, maxLength: 40 }), async (ops) => {
      const model = makeModel()
      for (const one of ops) {
        await model.apply(one)
        expect(violationsAlways(model.world, model.leeway())).toEqual([])
      }
      await model.toRest()
      expect([...violationsAtRest(model.world, model.leeway()), ...parkedForNoReason(model.world)]).toEqual([])
    }),
    {
      numRuns: Number(process.env['RBDSNAP_MODEL_RUNS'] ?? 300),
      // The same runs each time; another seed looks elsewhere, and one that failed is seen again.
      seed: Number(process.env['RBDSNAP_MODEL_SEED'] ?? 20_261_123),
      interruptAfterTimeLimit: Number(process.env['RBDSNAP_MODEL_MS'] ?? 60_000),
    },
  )
}, 1_800_000)

interface Model {
  world: World
  leeway: () => { thawMs: number }
  apply: (op: Op) => Promise<void>
  toRest: () => Promise<void>
}

function makeModel(): Model {
  const world = makeWorld({ format: 'both' })
  const servers: Server[] = [
    world.addServer({ disk: 'clone' }),
    world.addServer({ disk: 'flat', baseProperties: { os_require_quiesce: 'yes' } }),
    world.addServer({ disk: 'clone', layering: false, agent: 'none' }),
  ]
  let broken: { at: number; kind: Way }[] = []
  let lostMs = 0
  const engine = makeEngine(world, (index) => {
    const hit = broken.find((b) => b.at === index)
    broken = broken.filter((b) => b !== hit)
    return hit?.kind ?? null
  })
  return {
    world,
    leeway: () => ({ thawMs: 2 * oneQueuePeriod.thawMs + lostMs }),
    async apply(one) {
      // What is lost, or dies, is made good by the next sweep at the latest.
      if (one.do === 'lose' || one.do === 'break') lostMs += 90_000
      if (one.do === 'outage') lostMs += one.ms
      if (one.do === 'break') broken.push({ at: engine.meddler.calls.length + one.inCalls, kind: one.kind })
      else await applyTo(one, world, engine, servers)
    },
    async toRest() {
      for (const { id } of servers) world.guests.revive(id)
      await engine.toRest()
    },
  }
}

async function applyTo(
  one: Exclude<Op, { do: 'break' }>,
  world: World,
  engine: Engine,
  servers: Server[],
): Promise<void> {
  const { queue, guests, nova, clock, glance } = world
  const at = 'server' in one ? servers[one.server] : undefined
  const held = 'which' in one ? queue.all()[one.which] : undefined
  const isThere = at !== undefined && world.servers.has(at.id)
  switch (one.do) {
    case 'tag':
      if (isThere) world.tag(at, one.name)
      return
    case 'createImage':
      // nova-api refuses while another task runs, and for what is not active or stopped
      if (isThere && at.taskState === null) world.createImage(at, one.plan)
      return
    case 'steps':
      for (let i = 0; i < one.times; i++) await engine.step()
      return
    case 'deliver':
      if (held && queue.due().includes(held)) await engine.deliver(held)
      return
    case 'duplicate':
      if (held) queue.duplicate(held)
      return
    case 'lose':
      if (held && !isOnlyWord(held.sent.message)) queue.lose(held)
      return
    case 'together': {
      let { order } = one
      const pick = (of: number) => {
        const picked = order % of
        order = Math.floor(order / of)
        return picked
      }
      return engine.deliverTogether(queue.due().slice(0, 3), pick)
    }
    case 'outage':
      return clock.advanceTo(clock.nowMs() + one.ms)
    case 'deleteServer':
      if (isThere) nova.deleteServer(at)
      return
    case 'novaFails':
      if (isThere) nova.failNext(at)
      return
    case 'agentDies':
      if (isThere && guests.hasAgent(at.id)) guests.setAgent(at.id, 'dead')
      return
    case 'agentLives':
      if (isThere && guests.hasAgent(at.id)) guests.setAgent(at.id, 'alive')
      return
    case 'stop':
      if (isThere && at.taskState === null) world.stop(at)
      return
    case 'deleteImage': {
      const ofServers = [...glance.images.values()].filter((i) => i.properties['instance_uuid'] !== undefined)
      const image = ofServers[one.which]
      if (image) world.deleteImage(image.id)
      return
    }
    case 'managerDies':
      world.volumes.loseTasks()
      world.tempo.halfMade = one.leaves
  }
}

/** Nova cannot be asked for `snapshot:NAME` without knowing the name: what is lost of it, before a run is reserved, is lost. */
function isOnlyWord(message: Message): boolean {
  if (message.step !== 'ingest' || message.heard.is !== 'notification') return false
  return tagWishes(message.heard.tags ?? []).some((wish) => wish.name !== null)
}

/** A person is called only when Nova left something in the way, or when something was down for longer than patience lasts. */
function parkedForNoReason({ store }: World): string[] {
  const expected = ['NAME_TAKEN', 'OVERDUE']
  const runs = store.runs().filter((r) => r.outcome === 'parked' && !expected.includes(r.code ?? ''))
  return [
    ...runs.map((r) => `${r.message.step} parked: ${r.reason}`),
    ...store.parked().map((p) => `parked ${p.id}: ${p.code} ${p.words}`),
  ]
}
