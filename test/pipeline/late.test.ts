import { describe, expect, it } from 'vitest'
import { Failure } from '../../shared/failures.ts'
import { novaDisk } from '../../shared/names.ts'
import { settleAfterMs } from '../../shared/settle.ts'
import { makeWorld, type ServerOptions } from '../fakes/world.ts'
import { makeEngine } from '../support/engine.ts'
import { violationsAtRest } from '../support/invariants.ts'

/** What a dead function had asked for takes effect when its run has ended: the last look at the run finds it. */
describe('after a run has ended', () => {
  it('a snapshot that appears on the disk is removed, and the run says so', async () => {
    const { world, engine, snap, run } = await ended()
    world.ceph.snapCreate('rbdsnap', snap)
    await engine.toRest()
    expect(violationsAtRest(world)).toEqual([])
    expect(run()).toMatchObject({ outcome: 'active', undos: [] })
    expect(run().reason).toContain(`${snap.snap} appeared after the run had ended and was removed`)
  })

  it('a disk that Nova gave up because of such a snapshot is removed with it', async () => {
    const { world, engine, server, snap, run } = await ended()
    world.ceph.snapCreate('rbdsnap', snap)
    world.nova.deleteServer(server)
    await engine.toRest()
    expect(world.ceph.has(novaDisk('vms', server.id))).toBe(false)
    expect(run().reason).toContain('was removed')
  })

  it('a temporary copy that appears is removed', async () => {
    const { world, engine, run } = await ended({ layering: false })
    world.ceph.create('rbdsnap', { pool: 'images', image: `rbdsnap-${run().wish.run}-copy` }, { sizeBytes: 4096 })
    await engine.toRest()
    expect(violationsAtRest(world)).toEqual([])
  })

  it('a record that appears in Glance is removed when the run was turned back', async () => {
    const { world, engine, server, run } = await ended({}, (w) => (w.glance.settings.isQuotaUsedUp = true))
    const { image, project } = run().wish
    world.glance.settings.isQuotaUsedUp = false
    const properties = { instance_uuid: server.id, rbdsnap_run: run().wish.run }
    world.glance.create('rbdsnap', { id: image, owner: project, name: '', properties })
    await engine.toRest()
    expect(violationsAtRest(world)).toEqual([])
  })

  it('it is looked at once: what appears later is nobody’s to remove', async () => {
    const { world, engine, snap, run } = await ended()
    await engine.toRest()
    expect(run().undos).toEqual([])
    world.ceph.snapCreate('rbdsnap', snap)
    for (let sweeps = 0; sweeps < 30; sweeps++) await engine.sweep()
    expect(world.ceph.snapOf(snap)).toBeDefined()
  })

  it('it is not looked at while something of it may still be on its way', async () => {
    const { world, engine, snap, endedAtMs } = await ended()
    world.ceph.snapCreate('rbdsnap', snap)
    world.clock.advanceTo(endedAtMs + settleAfterMs - 10_000)
    await engine.sweep()
    expect(world.ceph.snapOf(snap)).toBeDefined()
    world.clock.advanceTo(endedAtMs + settleAfterMs + 1)
    await engine.sweep()
    expect(() => world.ceph.snapOf(snap)).toThrow()
  })

  it('Ceph that cannot be asked then is asked by a later sweep', async () => {
    const { world, engine, snap, run, endedAtMs } = await ended()
    world.ceph.snapCreate('rbdsnap', snap)
    const { home } = world.ports.clusters
    world.ports.clusters['home'] = { ...world.volumes, find: () => Promise.reject(new Failure('CEPH_UNREACHABLE', '')) }
    world.clock.advanceTo(endedAtMs + settleAfterMs + 1)
    await engine.sweep()
    expect(run().undos).not.toEqual([])
    world.ports.clusters['home'] = home ?? world.volumes
    await engine.toRest()
    expect(violationsAtRest(world)).toEqual([])
  })

  it('what cannot be removed is set aside for a person, and the run keeps its outcome', async () => {
    const { world, engine, run, endedAtMs } = await ended()
    const refused = () => Promise.reject(new Failure('CEPH_REFUSED', 'no right'))
    world.ports.clusters['home'] = { ...world.volumes, ensureSnapshotAbsent: refused }
    world.clock.advanceTo(endedAtMs + settleAfterMs + 1)
    await engine.sweep()
    expect(run()).toMatchObject({ outcome: 'active', undos: [] })
    expect(world.store.parked()).toMatchObject([{ id: `left/${run().wish.run}`, code: 'UNDO_FAILED' }])
  })
})

async function ended(
  options: ServerOptions = {},
  before: (world: ReturnType<typeof makeWorld>) => unknown = () => null,
) {
  const world = makeWorld()
  const server = world.addServer(options)
  before(world)
  world.tag(server, 'snapshot')
  const engine = makeEngine(world)
  const run = () => world.store.runs()[0] ?? never()
  while (world.store.runs().every((r) => r.outcome === null)) await engine.step()
  const snap = { ...novaDisk('vms', server.id), snap: `rbdsnap-${run().wish.run}` }
  return { world, engine, server, snap, run, endedAtMs: run().endedAtMs ?? 0 }
}

function never(): never {
  throw new Error('there is no run')
}
