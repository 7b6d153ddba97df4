import { imageOf, policyRun, properties } from '../../shared/names.ts'
import { messageVersion, type Wish } from '../../shared/run.ts'
import type { Server } from '../../shared/ports/compute.ts'
import type { World } from '../fakes/world.ts'

/** What an earlier run of a policy left: an active image, its data, and the run in the journal. @returns the image's id */
export function policyImage(world: World, { id: instance, project }: Server, action: string, atMs: number): string {
  const run = policyRun(instance, action, atMs)
  const image = imageOf(run, 1)
  const wish: Wish = {
    run,
    instance,
    project,
    image,
    imageName: `of ${action}`,
    trigger: { is: 'policy', action, atMs },
    quiesce: 'auto',
    rule: 'policy',
    requestedAtMs: atMs,
  }
  const volume = { pool: world.settings.glancePool, image }
  world.ceph.create('glance', volume, { sizeBytes: 4096, content: image })
  world.ceph.snapCreate('glance', { ...volume, snap: 'snap' })
  world.ceph.protect('glance', { ...volume, snap: 'snap' })
  world.glance.create('rbdsnap', {
    id: image,
    owner: project,
    name: wish.imageName,
    status: 'active',
    createdAtMs: atMs,
    updatedAtMs: atMs,
    sizeBytes: 4096,
    locations: [`rbd://${world.ceph.fsid}/${volume.pool}/${image}/snap`],
    properties: {
      instance_uuid: instance,
      [properties.run]: run,
      [properties.policy]: action,
      [properties.consistency]: 'crash',
    },
  })
  world.wishes.push({ instance, kind: 'policy', what: action })
  void world.store.journal.reserve({
    wish,
    version: 0,
    createdAtMs: atMs,
    updatedAtMs: atMs,
    hop: 6,
    message: { v: messageVersion, step: 'quiesce', wish, hop: 6, tries: 0, sinceMs: atMs },
    dueAtMs: atMs,
    claim: null,
    lost: 0,
    undos: [],
    timeline: [],
    progress: null,
    outcome: 'active',
    code: null,
    reason: null,
    endedAtMs: atMs,
  })
  return image
}
