import type { Guest } from '../../infra/cloud/guests.ts'
import { imagesOf } from '../../shared/names.ts'
import type { Parked, RunRecord } from '../../shared/ports/journal.ts'
import type { Stage } from './stage.ts'
import type { Tenants } from './tenants.ts'
import type { Witness } from './witness.ts'

/** Everything that is there when nothing moves any more. */
export interface World {
  volumes: Volume[]
  trash: string[]
  images: Map<string, Image>
  servers: { id: string; tags: string[]; taskState: string | null }[]
  /** those of deleted servers as well */
  guests: Guest[]
  runs: RunRecord[]
  runById: Map<string, RunRecord>
  /** by every id that a run's image may have had */
  runByImage: Map<string, RunRecord>
  parked: Parked[]
  frozenLeases: string[]
  wishes: Tenants['wishes']
  deletedServers: Set<string>
  published: Set<string>
  /** images whose bytes do not bear out the verdict that is on them */
  tooGood: string[]
}

export interface Volume {
  cluster: string
  pool: string
  name: string
  parent: { pool: string; image: string; snap: string } | null
  snaps: string[]
}

export interface Image {
  id: string
  name: string
  status: string
  protected: boolean
  rbdsnap_run?: string
  rbdsnap_consistency?: string
  rbdsnap_owner_protected?: string
  instance_uuid?: string
  os_require_quiesce?: string
}

interface Told {
  clusters: Record<
    string,
    {
      pools: Record<string, (Omit<Volume, 'snaps'> & { snaps?: { name: string }[] })[]>
      trash: Record<string, unknown[]>
    }
  >
  images: Image[]
  servers: World['servers']
  guests: Guest[]
}

const all = 10_000_000

export async function lookAround(stage: Stage, tenants: Tenants, witness: Witness): Promise<World> {
  const { cloud, session } = stage
  const told = await cloud.control<Told>('GET', '/world')
  const images = new Map(told.images.map((image) => [image.id, image]))
  const runs = await session.journal.list(all)
  return {
    volumes: Object.entries(told.clusters).flatMap(([cluster, { pools }]) =>
      Object.entries(pools).flatMap(([pool, volumes]) =>
        volumes.map((v) => ({
          cluster,
          pool,
          name: v.name,
          parent: v.parent ?? null,
          snaps: (v.snaps ?? []).map((s) => s.name),
        })),
      ),
    ),
    trash: Object.values(told.clusters).flatMap(({ trash }) =>
      Object.values(trash)
        .flat()
        .map((entry) => JSON.stringify(entry)),
    ),
    images,
    servers: told.servers,
    guests: [...told.guests, ...witness.goneGuests()],
    runs,
    runById: new Map(runs.map((run) => [run.wish.run, run])),
    runByImage: new Map(runs.flatMap((run) => [...imagesOf(run.wish.run), run.wish.image].map((id) => [id, run]))),
    parked: await session.journal.listParked(all),
    frozenLeases: (await session.leases.frozen()).map(({ key }) => key),
    wishes: tenants.wishes,
    deletedServers: tenants.deleted,
    published: witness.published(),
    tooGood: await verdictsTooGood(stage, images),
  }
}

async function verdictsTooGood({ cloud }: Stage, images: Map<string, Image>): Promise<string[]> {
  const found: string[] = []
  for (const { id, status, rbdsnap_consistency: verdict, os_require_quiesce: required } of images.values()) {
    if (status !== 'active') continue
    if (verdict === 'crash' && required === 'yes') found.push(`image ${id} requires a freeze and had none`)
    if (verdict !== 'filesystem') continue
    const query = new URLSearchParams({ pool: 'images', image: id, snap: 'snap' })
    const { isFrozen } = await cloud.control<{ isFrozen: boolean }>('GET', `/evidence?${query.toString()}`)
    if (!isFrozen) found.push(`image ${id} says filesystem, and its guest was not frozen`)
  }
  return found
}
