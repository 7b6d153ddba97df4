import { readConfig } from '../../shared/config.ts'
import { keystone } from '../../shared/adapters/keystone.ts'
import { microversion } from '../../shared/adapters/nova.ts'
import { credentialsOf, systemClock } from '../../shared/compose.ts'
import type { Engine } from './engine.ts'

/**
 * Whose servers a storm is over. Nearly all of them are one project's, and some of those can only be uploaded or copied; ten
 * small projects have one server and one wish each, and ask last: behind everything.
 */
export const largeProject = '1a46e000000000000000000000000000'
const smallProject = (i: number) => `5ba11000000000000000000000000${String(i).padStart(3, '0')}`
const guardProject = '94a4d000000000000000000000000000'
const smallProjects = 10

export interface StormServer {
  id: string
  project: string
  wishes: number
}

export interface Scene {
  servers: StormServer[]
  /** servers that nobody wishes anything of; their freezes are ended by the dead man alone */
  guards: string[]
}

/** @param wishes at least as many as there are servers */
export async function buildScene(engine: Engine, instances: number, wishes: number): Promise<Scene> {
  const slow = Math.min(4, Math.floor(instances / 50))
  // In the middle: at first thousands of notifications are in the way of everybody, and that is not the uploads' doing.
  const firstSlow = Math.floor(instances / 2)
  const disks = Array.from({ length: instances }, (_, i) => {
    if (i >= instances - smallProjects) return { project: smallProject(i - instances + smallProjects), ...clone }
    const nthSlow = i - firstSlow
    const isSlow = nthSlow >= 0 && nthSlow < 2 * slow
    return { project: largeProject, ...(isSlow ? (nthSlow < slow ? elsewhere : uncloneable) : clone) }
  })
  const large = instances - smallProjects
  const servers = await inLanes(disks, async ({ project, disk, sizeGib }, i) => {
    const id = await engine.cloud.addServer({ name: `storm-${i}`, project, disk, sizeGib, agent: 'on' })
    const share = Math.floor((wishes - smallProjects) / large)
    const isOneMore = i < wishes - smallProjects - share * large
    return { id, project, wishes: i >= large ? 1 : share + (isOneMore ? 1 : 0) }
  })
  const guards = await inLanes(Array.from({ length: 6 }), (_, i) =>
    engine.cloud.addServer({ name: `guard-${i}`, project: guardProject, ...clone, agent: 'on' }),
  )
  return { servers, guards }
}

const clone = { disk: 'clone', sizeGib: 1 }
/** in another cluster than Glance: uploaded */
const elsewhere = { disk: 'other-cluster', sizeGib: 0.5 }
/** without layering: copied inside Ceph */
const uncloneable = { disk: 'no-layering', sizeGib: 0.5 }

/** All wishes of each server in one call, the servers in their order; when Nova had answered, by server. */
export async function askAll({ session }: Engine, servers: StormServer[]): Promise<Map<string, number>> {
  const identity = keystone(credentialsOf(readConfig(session.env)), systemClock)
  const { signal } = new AbortController()
  const [token, compute] = await Promise.all([identity.token(signal), identity.endpoint('compute', signal)])
  const askedAtMs = new Map<string, number>()
  await inLanes(servers, async ({ id, wishes }) => {
    const tags = Array.from({ length: wishes }, (_, i) => `snapshot:${id.slice(0, 8)}-${i}`)
    const answer = await fetch(`${compute}/servers/${id}/tags`, {
      method: 'PUT',
      headers: {
        'x-auth-token': token,
        'x-openstack-nova-api-version': microversion,
        'content-type': 'application/json',
      },
      body: JSON.stringify({ tags }),
    })
    if (!answer.ok) throw new Error(`PUT tags of ${id}: ${answer.status} ${(await answer.text()).slice(0, 200)}`)
    askedAtMs.set(id, Date.now())
  })
  return askedAtMs
}

const lanes = 8

async function inLanes<T, R>(items: T[], act: (item: T, i: number) => Promise<R>): Promise<R[]> {
  const done: R[] = []
  const next = items.entries()
  const lane = async () => {
    for (const [i, item] of next) done[i] = await act(item, i)
  }
  await Promise.all(Array.from({ length: lanes }, lane))
  return done
}
