import type { Server } from '../../shared/ports/compute.ts'
import { properties } from '../../shared/names.ts'
import type { FakeRecord } from '../fakes/glance.ts'
import { makeWorld, type Wished, type World } from '../fakes/world.ts'

type Harm = Parameters<World['queue']['harms']>[0]

/** One wish on one server, and how it has to end whatever is broken on the way. */
export interface Scenario {
  name: string
  /** @param harm what the queue does to its messages, from the first one on */
  begin: (harm?: Harm) => { world: World; server: Server }
  /** outcome and number of images: first of the good run, then where it may also end once something went wrong */
  ends: string[]
}

/** Nova had failed, and deleted its image, before we came to protect it. */
export const tooLate = 'too late'

export const scenarios: Scenario[] = [
  {
    name: 'tag on a clone disk, with a freeze',
    begin: (harm) => tagged(harm, { disk: 'clone' }),
    ends: ['active, images: 1'],
  },
  {
    name: 'tag on a flat disk, no freeze asked for',
    begin: (harm) => tagged(harm, { disk: 'flat', baseProperties: {} }),
    ends: ['active, images: 1'],
  },
  {
    name: 'a clone left half made, without a parent',
    begin: (harm) => halfMade(harm, 'no-parent'),
    ends: ['active, images: 1'],
  },
  {
    name: 'a clone left half made, unknown to its parent',
    begin: (harm) => halfMade(harm, 'unknown-child'),
    ends: ['active, images: 1'],
  },
  {
    name: 'a clone left half made, that does not open',
    begin: (harm) => halfMade(harm, 'unopenable'),
    ends: ['active, images: 1'],
  },
  {
    name: 'take-over that we win',
    begin: (harm) => takenOver(harm, { way: 'long', convertMs: 30_000 }),
    ends: ['active, images: 1', 'nova-did-it, images: 1'],
  },
  {
    name: 'take-over that Nova wins',
    begin: (harm) => takenOver(harm, { way: 'direct', flattenMs: 10_000 }),
    ends: ['nova-did-it, images: 1'],
  },
  {
    name: 'take-over that rescues what Nova cannot do',
    begin: (harm) => {
      const made = takenOver(harm, { way: 'direct', flattenMs: 10_000 })
      made.world.glance.settings.takesLocationsFrom.nova = false
      return made
    },
    ends: ['active, images: 1', tooLate],
  },
  {
    name: 'require, and no agent',
    begin: (harm) => tagged(harm, { agent: 'none', baseProperties: { os_require_quiesce: 'yes' } }),
    ends: ['rejected, images: 0'],
  },
  {
    name: 'a quota that is used up: everything is taken back',
    begin: (harm) => {
      const made = tagged(harm, {})
      made.world.glance.settings.isQuotaUsedUp = true
      return made
    },
    ends: ['rejected, images: 0'],
  },
  {
    name: 'no layering: a copy inside Ceph',
    begin: (harm) => tagged(harm, { layering: false }),
    ends: ['fallback, images: 1'],
  },
  {
    name: 'no locations: an upload',
    begin: (harm) => {
      const made = tagged(harm, {})
      made.world.glance.settings.takesLocationsFrom.rbdsnap = false
      return made
    },
    ends: ['fallback, images: 1'],
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

function begun(harm: Harm | undefined): World {
  const world = makeWorld()
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
