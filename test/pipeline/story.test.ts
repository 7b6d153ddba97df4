import { expect, it } from 'vitest'
import { properties } from '../../shared/names.ts'
import { makeWorld } from '../fakes/world.ts'
import { makeEngine } from '../support/engine.ts'

/** One good run from the tag to the image, told by what it leaves: what a tenant, Ceph, the guest and the operator see. */
it('a tenant tags his server, and has a consistent image a moment later', async () => {
  const world = makeWorld()
  const server = world.addServer({ disk: 'clone' })
  const startedAtMs = world.clock.nowMs()
  const engine = makeEngine(world)

  world.tag(server, 'snapshot:before-upgrade')
  await engine.toRest()

  // The tenant: one active image, his own, named as he asked, and his tag is gone.
  const image = [...world.glance.images.values()].find((i) => i.properties['instance_uuid'] === server.id)
  expect(image).toMatchObject({
    name: 'before-upgrade',
    status: 'active',
    owner: server.project,
    isProtected: false,
    minDiskGib: 1,
    locations: [`rbd://${world.ceph.fsid}/images/${image?.id}/snap`],
  })
  expect(image?.properties).toMatchObject({
    image_type: 'snapshot',
    base_image_ref: server.baseImage,
    hw_qemu_guest_agent: 'yes',
    [properties.consistency]: 'filesystem',
    [properties.consistencyReason]: 'the guest was frozen before and after the snapshot',
    [properties.road]: 'clone',
  })
  expect(Number(image?.properties[properties.usableMs])).toBeLessThan(2_000)
  expect(server.tags).toEqual([])

  // The guest: frozen once, for little longer than the one `snap create` inside.
  expect(world.guests.intervals).toHaveLength(1)
  const [frozen] = world.guests.intervals
  expect(frozen?.snapsAtMs).toHaveLength(1)
  expect((frozen?.toMs ?? Infinity) - (frozen?.fromMs ?? 0)).toBeLessThan(600)

  // Ceph, in order; the flatten came long after the image was usable.
  const made = world.ceph.events.filter((e) => e.by === 'rbdsnap')
  const short = (name: string) => (name.startsWith(server.id) ? 'disk' : 'clone')
  expect(
    made.map((e) => `${e.op} ${short(e.image)}${e.snap === null ? '' : `@${e.snap.replace(/-.*/, '-RUN')}`}`),
  ).toEqual([
    'snap create disk@rbdsnap-RUN',
    'protect disk@rbdsnap-RUN',
    'clone clone',
    'snap create clone@snap',
    'protect clone@snap',
    'flattened clone',
    'unprotect disk@rbdsnap-RUN',
    'snap remove disk@rbdsnap-RUN',
  ])
  const locatedAtMs = world.glance.events.find((e) => e.op === 'located')?.atMs ?? Infinity
  const flattenedAtMs = made.find((e) => e.op === 'flattened')?.atMs ?? 0
  expect(locatedAtMs - startedAtMs).toBeLessThan(2_000)
  expect(flattenedAtMs - locatedAtMs).toBeGreaterThanOrEqual(world.tempo.flattenMs)

  // The operator: one run with its timeline, every step once.
  const [run, ...others] = world.store.runs()
  expect(others).toEqual([])
  expect(run?.outcome).toBe('active')
  expect(run?.timeline.map(({ step, outcome, tries }) => `${step} ${outcome} ${tries}`)).toEqual([
    'ingest done 1',
    'quiesce done 1',
    'snapshot done 1',
    'clone done 1',
    'register done 1',
    'flatten done 1',
    'cleanup done 1',
  ])
  expect(world.store.parked()).toEqual([])
})
