import type { Server } from '../../shared/ports/compute.ts'
import { properties } from '../../shared/names.ts'
import type { NotificationFormat } from '../fakes/bus.ts'
import type { FakeRecord } from '../fakes/glance.ts'
import { makeWorld, type Wished, type World } from '../fakes/world.ts'
import { policyImage } from './policy-image.ts'

type Harm = Parameters<World['queue']['harms']>[0]

/** One wish on one server, and how it has to end whatever is broken on the way. */
export interface Scenario {
  name: string
  /** where it leads; a file of test/faults each */
  road: 'clone' | 'take-over' | 'fallback' | 'back' | 'policy'
  /** @param harm what the queue does to its messages, from the first one on */
  begin: (harm?: Harm) => { world: World; server: Server }
  /** outcome and number of images: first of the good run, then where it may also end once something went wrong */
  ends: string[]
}

/** Nova had failed, and deleted its image, before we came to protect it. */
export const tooLate = 'too late'

/** A policy of whose event nobody heard: the older images stay. */
export const unheard = 'active,active,active,active,active, images: 5'

export const scenarios: Scenario[] = [
  {
    name: 'tag on a clone disk, with a freeze',
    road: 'clone',
    begin: (harm) => tagged(harm, { disk: 'clone' }),
    ends: ['active, images: 1'],
  },
  {
    name: 'tag on a flat disk, no freeze asked for',
    road: 'clone',
    begin: (harm) => tagged(harm, { disk: 'flat', baseProperties: {} }),
    ends: ['active, images: 1'],
  },
  {
    name: 'a clone left half made, without a parent',
    road: 'clone',
    begin: (harm) => halfMade(harm, 'no-parent'),
    ends: ['active, images: 1'],
  },
  {
    name: 'a clone left half made, unknown to its parent',
    road: 'clone',
    begin: (harm) => halfMade(harm, 'unknown-child'),
    ends: ['active, images: 1'],
  },
  {
    name: 'a clone left half made, that does not open',
    road: 'clone',
    begin: (harm) => halfMade(harm, 'unopenable'),
    ends: ['active, images: 1'],
  },
  {
    name: 'take-over that we win',
    road: 'take-over',
    begin: (harm) => takenOver(harm, { way: 'long', convertMs: 30_000 }),
    ends: ['active, images: 1', 'nova-did-it, images: 1'],
  },
  {
    name: 'take-over that Nova wins',
    road: 'take-over',
    begin: (harm) => takenOver(harm, { way: 'direct', flattenMs: 10_000 }),
    ends: ['nova-did-it, images: 1'],
  },
  {
    name: 'take-over that rescues what Nova cannot do',
    road: 'take-over',
    begin: (harm) => {
      const made = takenOver(harm, { way: 'direct', flattenMs: 10_000 })
      made.world.glance.settings.takesLocationsFrom.nova = false
      return made
    },
    ends: ['active, images: 1', tooLate],
  },
  {
    name: 'require, and an agent: consistent or not at all',
    road: 'clone',
    begin: (harm) => tagged(harm, { baseProperties: { os_require_quiesce: 'yes' } }),
    ends: ['active, images: 1', 'rejected, images: 0'],
  },
  {
    name: 'prefer, and an agent that does not answer',
    road: 'clone',
    begin: (harm) => tagged(harm, { agent: 'dead' }),
    ends: ['active, images: 1'],
  },
  {
    name: 'a stopped server',
    road: 'clone',
    begin: (harm) => {
      const made = tagged(harm, {})
      made.world.stop(made.server)
      return made
    },
    ends: ['active, images: 1'],
  },
  {
    name: 'require, and no agent',
    road: 'back',
    begin: (harm) => tagged(harm, { agent: 'none', baseProperties: { os_require_quiesce: 'yes' } }),
    ends: ['rejected, images: 0'],
  },
  {
    name: 'a quota that is used up: everything is taken back',
    road: 'back',
    begin: (harm) => {
      const made = tagged(harm, {})
      made.world.glance.settings.isQuotaUsedUp = true
      return made
    },
    ends: ['rejected, images: 0'],
  },
  {
    name: 'no layering: a copy inside Ceph',
    road: 'fallback',
    begin: (harm) => tagged(harm, { layering: false }),
    ends: ['fallback, images: 1'],
  },
  {
    name: 'no locations: an upload',
    road: 'fallback',
    begin: (harm) => {
      const made = tagged(harm, {})
      made.world.glance.settings.takesLocationsFrom.rbdsnap = false
      return made
    },
    ends: ['fallback, images: 1'],
  },
  {
    name: 'no layering, and no copy either: an upload',
    road: 'fallback',
    begin: (harm) => {
      const made = tagged(harm, { layering: false })
      made.world.tempo.refusesCopy = true
      return made
    },
    ends: ['fallback, images: 1'],
  },
  {
    name: 'a disk in another cluster: an upload',
    road: 'fallback',
    begin: (harm) => tagged(harm, { disk: 'elsewhere' }),
    ends: ['fallback, images: 1'],
  },
  {
    name: 'an upload in which Glance dies',
    road: 'fallback',
    begin: (harm) => {
      const made = tagged(harm, { disk: 'elsewhere' })
      // of the twenty minutes that are waited for ten seconds are left: each look is some more calls to be broken
      made.world.glance.settings.deathsInUpload = { count: 1, afterMs: 1_190_000 }
      return made
    },
    ends: ['rejected, images: 0'],
  },
  {
    name: 'server deleted while it is snapshotted',
    road: 'back',
    begin: (harm) => deletedAfter(harm, 300),
    ends: ['rejected, images: 0', 'active, images: 1', ', images: 0'],
  },
  {
    name: 'server deleted while the flatten runs',
    road: 'back',
    begin: (harm) => deletedAfter(harm, 3_000),
    ends: ['active, images: 1', 'rejected, images: 0', ', images: 0'],
  },
  {
    name: 'image deleted by its owner while the flatten runs',
    road: 'back',
    begin: (harm) => {
      const made = tagged(harm, {})
      const { world, server } = made
      const isHis = (i: FakeRecord) => i.properties['instance_uuid'] === server.id
      world.clock.in(3_000, () => world.deleteImage([...world.glance.images.values()].find(isHis)?.id ?? ''))
      return made
    },
    ends: ['active, images: 0', 'active, images: 1', 'rejected, images: 0'],
  },
  {
    name: 'policy: of five older images one is protected, a disk hangs on one, a server was made from one',
    road: 'policy',
    begin: (harm) => ofPolicy(harm, ['snapshot-on:power_off', 'snapshot-keep:1']),
    ends: ['active,active,active,active,active,active, images: 4'],
  },
  {
    name: 'policy: two are kept, whatever else stays',
    road: 'policy',
    begin: (harm) => ofPolicy(harm, ['snapshot-on:power_off', 'snapshot-keep:2', 'snapshot-keep:1']),
    ends: ['active,active,active,active,active,active, images: 5'],
  },
]

/** What became of the wishes on a server, as `ends` says it. */
export function endOf({ store, glance, wishes }: World, instance: string): string {
  const isUnclaimed = ({ what }: Wished) => glance.deleted.get(what)?.properties[properties.run] === undefined
  if (wishes.some((w) => glance.deleted.has(w.what) && isUnclaimed(w))) return tooLate
  const outcomes = store.runs().flatMap((r) => (r.wish.instance === instance ? [r.outcome ?? 'open'] : []))
  const isActive = (i: FakeRecord) => i.properties['instance_uuid'] === instance && i.status === 'active'
  return `${outcomes.join()}, images: ${[...glance.images.values()].filter(isActive).length}`
}

function begun(harm: Harm | undefined, format: NotificationFormat = 'versioned'): World {
  const world = makeWorld({ format })
  if (harm) world.queue.harms(harm)
  // long enough to be asked for twice
  world.tempo.flattenMs = 4_000
  return world
}

function tagged(harm: Harm | undefined, options: Parameters<World['addServer']>[0]) {
  const world = begun(harm)
  const server = world.addServer(options)
  world.tag(server, 'snapshot')
  return { world, server }
}

/** One event in both formats; the second older image is protected, a disk hangs on the third, and a server whose disk is none was made from the fourth. */
function ofPolicy(harm: Harm | undefined, tags: string[]) {
  const world = begun(harm, 'both')
  const server = world.addServer({})
  server.tags.push(...tags)
  const dayMs = 86_400_000
  const [, second = '', third = '', fourth = ''] = [1, 2, 3, 4, 5].map((days) =>
    policyImage(world, server, 'power_off', world.clock.nowMs() - days * dayMs),
  )
  world.protectImage(second)
  world.bootFrom(third)
  world.addServer({ disk: 'flat' }).baseImage = fourth
  world.powerOff(server)
  return { world, server }
}

function deletedAfter(harm: Harm | undefined, ms: number) {
  const made = tagged(harm, {})
  made.world.clock.in(ms, () => made.world.nova.deleteServer(made.server))
  return made
}

function halfMade(harm: Harm | undefined, form: World['tempo']['halfMade']) {
  const made = tagged(harm, {})
  made.world.tempo.halfMade = form
  return made
}

function takenOver(harm: Harm | undefined, plan: Parameters<World['createImage']>[1]) {
  const world = begun(harm)
  const server = world.addServer({ disk: plan?.way === 'long' ? 'flat' : 'clone' })
  world.createImage(server, plan)
  return { world, server }
}
