import { describe, expect, it } from 'vitest'
import { instanceLease } from '../../shared/freeze.ts'
import { novaDisk, properties } from '../../shared/names.ts'
import type { Server } from '../../shared/ports/compute.ts'
import type { RunRecord } from '../../shared/ports/journal.ts'
import { plantedToken } from '../fakes/bus.ts'
import type { World } from '../fakes/world.ts'
import { makeWorld } from '../fakes/world.ts'
import { makeEngine } from './engine.ts'
import { violationsAtRest } from './invariants.ts'
import { policyImage } from './policy-image.ts'

/** A world after one good run, and something put into it that must never be there: the invariants see it. */
describe('an invariant sees', () => {
  it('nothing in a good run', async () => {
    const { world } = await good()
    expect(violationsAtRest(world)).toEqual([])
  })

  it.each<[string, (at: Good) => unknown]>([
    ['I1: a guest that is frozen still', freezeArmed],
    [
      'I1: a guest that was frozen too long',
      async (at) => {
        await freezeArmed(at)
        at.world.clock.advanceTo(at.world.clock.nowMs() + 60_000)
        await at.world.ports.guest.thaw({ instance: at.server.id, host: null }, signal)
      },
    ],
    [
      'I2: a freeze with no thaw armed',
      async ({ world, server }) => {
        await world.ports.guest.freeze({ instance: server.id, host: null }, Infinity, signal)
        await world.ports.guest.thaw({ instance: server.id, host: null }, signal)
      },
    ],
    [
      'I2: a guest that is frozen twice',
      async (at) => {
        await freezeArmed(at)
        await at.world.ports.guest.freeze({ instance: at.server.id, host: null }, Infinity, signal)
      },
    ],
    [
      'I2: a clone made inside the window',
      async (at) => {
        const { world, run } = at
        await freezeArmed(at)
        world.clock.advanceTo(world.clock.nowMs() + 1)
        world.ceph.create('rbdsnap', { pool: 'images', image: `rbdsnap-${run.wish.run}-copy` }, { sizeBytes: 1 })
      },
    ],
    ['I3: a verdict better than the evidence', ({ world }) => world.evidence.forEach((e) => (e.isFrozen = false))],
    [
      'I3: offline, and it ran',
      ({ image }) => Object.assign(image.properties, { [properties.consistency]: 'offline' }),
    ],
    [
      'I3: required, and degraded',
      ({ image }) => Object.assign(image.properties, { os_require_quiesce: 'yes', [properties.consistency]: 'crash' }),
    ],
    [
      'I4: an object that no record names',
      ({ world }) =>
        world.ceph.create('rbdsnap', { pool: 'images', image: 'rbdsnap-of-nobody-copy' }, { sizeBytes: 1 }),
    ],
    [
      "I4: somebody else's image removed",
      ({ world }) => {
        world.ceph.create('tenant', { pool: 'images', image: 'his' }, { sizeBytes: 1 })
        world.ceph.remove('rbdsnap', { pool: 'images', image: 'his' })
      },
    ],
    [
      "I4: somebody else's snapshot removed",
      ({ world, server }) => {
        const snap = { ...novaDisk('vms', server.id), snap: 'of-nova' }
        world.ceph.snapCreate('nova', snap)
        world.ceph.snapRemove('rbdsnap', snap)
      },
    ],
    ['I4: an image removed that no policy made', ({ world, image }) => world.glance.delete('rbdsnap', image.id)],
    [
      'I4: an image of a policy removed, and nobody says how many are enough',
      ({ world, server }) => world.glance.delete('rbdsnap', policyImage(world, server, 'power_off', 0)),
    ],
    [
      'I4: an image of a policy removed, and too few are left',
      ({ world, server }) => {
        server.tags.push('snapshot-keep:2')
        const [older = ''] = [1, 2].map((atMs) => policyImage(world, server, 'power_off', atMs))
        world.glance.delete('rbdsnap', older)
      },
    ],
    [
      'I4: an image of a policy removed that its owner protects',
      ({ world, server }) => {
        server.tags.push('snapshot-keep:1')
        const [older = ''] = [1, 2].map((atMs) => policyImage(world, server, 'power_off', atMs))
        world.guarded.add(older)
        world.glance.delete('rbdsnap', older)
      },
    ],
    [
      'I4: an image of a policy removed that a server was made from',
      ({ world, server }) => {
        server.tags.push('snapshot-keep:1')
        const [older = ''] = [1, 2].map((atMs) => policyImage(world, server, 'power_off', atMs))
        world.addServer({ disk: 'flat' }).baseImage = older
        world.glance.delete('rbdsnap', older)
      },
    ],
    [
      'I4: an image in use asked for, though Glance refused it',
      ({ world, server }) => {
        const image = policyImage(world, server, 'power_off', 1)
        world.bootFrom(image)
        expect(() => world.glance.delete('rbdsnap', image)).toThrow('in use')
      },
    ],
    [
      'I4: something of a run made after its last look',
      ({ world, server, run }) =>
        world.ceph.snapCreate('rbdsnap', { ...novaDisk('vms', server.id), snap: `rbdsnap-${run.wish.run}` }),
    ],
    [
      'I5: a parent removed below its clone',
      ({ world, server }) => world.ceph.images.delete(`images/${server.baseImage}`),
    ],
    ['I5: the volume of an active image removed', ({ world, image }) => world.ceph.images.delete(`images/${image.id}`)],
    [
      'I5: the disk itself touched',
      ({ world, server }) => {
        world.ceph.images.get(`vms/${server.id}_disk`)!.snaps.clear()
        world.ceph.images.get(`vms/${server.id}_disk`)!.isInUse = false
        world.ceph.remove('rbdsnap', novaDisk('vms', server.id))
      },
    ],
    [
      'I6: a source snapshot left behind',
      ({ world, server, run }) =>
        world.ceph.snapCreate('rbdsnap', { ...novaDisk('vms', server.id), snap: `rbdsnap-${run.wish.run}` }),
    ],
    [
      'I6: a temporary copy left behind',
      ({ world, run }) =>
        world.ceph.create('rbdsnap', { pool: 'images', image: `rbdsnap-${run.wish.run}-copy` }, { sizeBytes: 1 }),
    ],
    [
      'I6: a source snapshot left behind in another cluster',
      ({ world, run }) => {
        const [, elsewhere] = world.clusters
        elsewhere?.create('nova', novaDisk('vms', 'another'), { sizeBytes: 1 })
        elsewhere?.snapCreate('rbdsnap', { ...novaDisk('vms', 'another'), snap: `rbdsnap-${run.wish.run}` })
      },
    ],
    [
      'I6: a volume that no image has',
      ({ world }) => world.ceph.create('rbdsnap', { pool: 'images', image: base.id }, { sizeBytes: 1 }),
    ],
    [
      'I6: an image whose volume was never flattened',
      ({ world, server, image }) =>
        (world.ceph.image({ pool: 'images', image: image.id }).parent = {
          pool: 'images',
          image: server.baseImage ?? '',
          snap: 'snap',
        }),
    ],
    [
      'I6: an image left queued',
      ({ world, server }) => world.glance.create('nova', { ...base, properties: { instance_uuid: server.id } }),
    ],
    ['I6: an image left protected', ({ image }) => (image.isProtected = true)],
    ['I6: a tag left on the server', ({ server }) => server.tags.push('snapshot')],
    [
      'I7: a clone registered before it was whole',
      ({ world, server, run }) => {
        world.ceph.create('rbdsnap', { pool: 'images', image: base.id }, { sizeBytes: 4096 })
        world.glance.create('rbdsnap', { ...base, hasFormats: true, properties: ofRun(server, run) })
        world.glance.addLocation('rbdsnap', base.id, `rbd://f/images/${base.id}/snap`)
      },
    ],
    [
      "I7: an image in another's project",
      ({ world }) => world.glance.events.forEach((e) => (e.image.owner = 'another project')),
    ],
    [
      'I8: two images for one wish',
      ({ world }) => {
        const located = world.glance.events.filter((e) => e.op === 'located')
        world.glance.events.push(...located.map((e) => ({ ...e, image: { ...e.image, id: base.id } })))
      },
    ],
    ['I9: a run that never ended', ({ run }) => Object.assign(run, { outcome: null })],
    ['I9: a run that ended without a reason', ({ run }) => Object.assign(run, { outcome: 'rejected' })],
    ['I9: a run that says active, and no image', ({ world, image }) => world.glance.delete('nova', image.id)],
    [
      'I9: a run that left no verdict on its image',
      ({ image }) => {
        delete image.properties[properties.consistency]
      },
    ],
    [
      'I10: a token in a message',
      async ({ world, server }) => {
        const heard = { is: 'tagged' as const, instance: server.id, project: server.project, tag: plantedToken }
        await world.queue.port.send({ v: 1, step: 'ingest', tries: 0, heard })
      },
    ],
    ['I10: a token on an image', ({ image }) => Object.assign(image.properties, { left: plantedToken })],
    [
      'I10: a token among what is parked',
      ({ world }) => world.store.journal.park({ id: 'p', atMs: 0, code: 'BAD_MESSAGE', words: plantedToken, body: '' }),
    ],
    ['I10: a token in the journal', ({ run }) => Object.assign(run, { reason: plantedToken })],
    ["I11: another project's request served", ({ run }) => Object.assign(run.wish, { project: 'a stranger' })],
    ['I12: more runs than wishes', ({ world }) => world.wishes.pop()],
  ])('%s', async (name, plant) => {
    const at = await good()
    await plant(at)
    const seen = violationsAtRest(at.world)
    const number = name.slice(0, name.indexOf(':'))
    expect(
      seen.some((v) => v.startsWith(`${number}:`)),
      seen.join('\n'),
    ).toBe(true)
  })
})

const { signal } = new AbortController()
const base = { id: '00000000-0000-4000-c000-000000000001', owner: '13fcaa0fddb64917b16214698f0e086f', name: 'planted' }
const ofRun = (server: Server, { wish }: RunRecord) => ({ instance_uuid: server.id, [properties.run]: wish.run })

type Good = Awaited<ReturnType<typeof good>>

async function good() {
  const world = makeWorld()
  const server = world.addServer()
  world.tag(server, 'snapshot')
  await makeEngine(world).toRest()
  const [run] = world.store.runs()
  const image = world.glance.images.get(run?.wish.image ?? '')
  if (!run || !image) throw new Error('the good run made no image')
  return { world, server, run, image }
}

async function freezeArmed({ world, server, run }: { world: World; server: Server; run: RunRecord }): Promise<void> {
  const now = world.clock.nowMs()
  const lease = await world.store.leases.take(instanceLease(server.id), run.wish.run, now, now + 30_000)
  await world.queue.port.send({ v: 1, step: 'thaw', instance: server.id, epoch: lease?.epoch ?? 0 }, 5_000)
  await world.ports.guest.freeze({ instance: server.id, host: null }, Infinity, signal)
}
