import { sweep } from '../../../functions/sweep.ts'
import { instanceLease } from '../../../shared/freeze.ts'
import { properties } from '../../../shared/names.ts'
import { requestTag } from '../../../shared/rules.ts'
import { messageVersion } from '../../../shared/run.ts'
import { settleAfterMs } from '../../../shared/settle.ts'
import { projects } from '../../../infra/cloud/world.ts'
import { evidence } from '../../../infra/cloud/guest-disk.ts'
import { oneQueuePeriod } from '../../support/invariants.ts'
import type { Ids, Stage } from './stage.ts'

/**
 * What must be so of one wish when nothing moves any more, looked for in the embedded cloud itself, and in the journal.
 * @param others images of other wishes of the same server
 */
export async function wrongWith(
  { instance, run, image }: Ids,
  stage: Stage,
  wanted: string,
  others: string[] = [],
): Promise<string[]> {
  const { cloud, ports, settings } = stage
  const wrong: string[] = []
  const must = (isSo: boolean | undefined, words: string) => {
    if (isSo !== true) wrong.push(words)
  }

  const record = await ports.journal.find(instance, run)
  must(record?.outcome === wanted, `I9: the run is ${record?.outcome ?? 'open'} ${record?.code ?? ''}, not ${wanted}`)
  must(record?.undos.length === 0, `I6: undos are noted still: ${record?.undos.join() ?? ''}`)

  const isIts = ({ id, properties: p }: { id: string; properties: Record<string, unknown> }) =>
    p['instance_uuid'] === instance && !others.includes(id)
  const images = cloud.glance.all().filter((i) => isIts(i) && i.status !== 'deleted')
  const isMade = wanted === 'active' || wanted === 'fallback'
  must(images.length === (isMade ? 1 : 0), `I8: ${images.length} images: ${images.map((i) => i.status).join()}`)
  for (const i of images) {
    must(i.id === image && i.status === 'active', `I6: image ${i.id} is ${i.status}`)
    must(i.owner === projects.tenant, `I7: its owner is ${i.owner}`)
    must(!i.protected, 'I6: it is protected')
    must(i.locations.length === 1, `I7: it has ${i.locations.length} locations`)
    const verdict = i.properties[properties.consistency]
    must(verdict !== undefined, 'I9: no verdict on it')
    const proof = evidence(cloud.clusters.a, 'images', image, 'snap')
    must(verdict !== 'filesystem' || proof.isFrozen, 'I3: it says filesystem, and its bytes say otherwise')
    const { sizeBytes, parent, snaps } = cloud.clusters.a.info('images', image)
    must(sizeBytes === i.size && parent === null, `I5: its volume has ${sizeBytes} bytes or a parent`)
    must(snaps.length === 1 && snaps[0]?.name === 'snap' && snaps[0].isProtected, 'I7: its volume has no snap')
  }

  for (const cluster of Object.values(cloud.clusters)) {
    for (const pool of cluster.pools()) {
      for (const name of cluster.images(pool)) {
        if (name.includes(run) || (name === image && !isMade)) wrong.push(`I6: left behind: ${pool}/${name}`)
        const snaps = cluster.info(pool, name).snaps.filter((s) => s.name.includes(run))
        wrong.push(...snaps.map((s) => `I6: left behind: ${pool}/${name}@${s.name}`))
      }
      const trashed = cluster.trash.list(pool).filter((t) => t.name.includes(run) || t.name === image)
      wrong.push(...trashed.map((t) => `I6: left in the trash: ${pool}/${t.name}`))
    }
  }
  must(!cloud.nova.get(instance).tags.includes(requestTag), 'I6: the tag is on the server still')

  const lease = await ports.leases.find(instanceLease(instance))
  must(!lease?.freeze, 'I1: a freeze is noted still')
  const guest = cloud.guests.find(instance)
  must(guest?.isFrozen === false, 'I1: the guest is frozen still')
  const mostMs = settings.freezeBudgetMs + oneQueuePeriod.thawMs
  const ms = frozenMs(stage, instance)
  must(ms <= mostMs, `I1: the guest was frozen for ${ms} ms`)
  return wrong
}

/** As the guest itself noted it. */
function frozenMs({ cloud }: Stage, instance: string): number {
  const freezes = cloud.guests.find(instance)?.freezes ?? []
  return Math.max(0, ...freezes.map((f) => (f.thawedAtMs ?? Date.now()) - f.frozenAtMs))
}

/** As the sweep asks for a server whose notification was lost. */
export async function ask({ ports }: Stage, { instance }: Ids): Promise<void> {
  const heard = { is: 'tagged' as const, instance, project: projects.tenant, tag: requestTag }
  await ports.queue.send({ v: messageVersion, step: 'ingest', tries: 0, heard })
}

/** The sweep of a while later: nothing of these runs can be on its way any more. */
export async function lastLook({ ports, settings }: Stage): Promise<void> {
  const clock = { nowMs: () => Date.now() + settleAfterMs + 1_000 }
  await sweep(ports, { clock, settings, signal: AbortSignal.timeout(120_000) })
}
