import { Failure } from './failures.ts'
import type { NextOf } from './pipeline.ts'
import type { Clock } from './ports/clock.ts'
import type { Compute } from './ports/compute.ts'
import type { Guest } from './ports/guest.ts'
import type { Images } from './ports/images.ts'
import type { Journal, Leases } from './ports/journal.ts'
import type { Queue } from './ports/queue.ts'
import type { DiskReader, Volumes } from './ports/volumes.ts'
import type { Disk, Draft, MessageOf, RunStep } from './run.ts'
import type { Rules } from './rules.ts'

/** Every way out of a step. A composition (shared/lambda.ts, a test) binds each to one adapter. */
export interface Ports {
  compute: Compute
  images: Images
  /** the cluster of Glance's pool under its own name `home`, other clusters under theirs */
  clusters: Record<string, Volumes>
  reader: DiskReader
  guest: Guest
  queue: Queue
  journal: Journal
  leases: Leases
}

/** What the operator decided, as far as a step needs to know. */
export interface Settings {
  novaPool: string
  glancePool: string
  freezeBudgetMs: number
  flattensAtOnce: number
  /** what an upload gives to Glance; `ports.reader` gives it */
  uploadFormat: 'raw' | 'qcow2'
  rules: Rules
}

export interface Context {
  clock: Clock
  signal: AbortSignal
  settings: Settings
}

export type Outcome<S extends RunStep> =
  { is: 'done'; next: Draft<NextOf<S>> } | { is: 'waiting'; inMs: number; fraction?: number | null } | Ended

/** The run is over; `outcome` is what `rbdsnap run list` shows. */
export interface Ended {
  is: 'ended'
  outcome: 'active' | 'fallback' | 'nova-did-it' | 'rejected'
  failure: Pick<Failure, 'code' | 'words'> | null
  reason: string | null
}

/** The image is there: how it was made is the outcome, and what there is to say of it the reason. */
export function endedWell({ road, why }: Pick<MessageOf<'cleanup'>, 'road' | 'why'>): Ended {
  const outcome = road === 'clone' ? 'active' : 'fallback'
  return { is: 'ended', outcome, failure: null, reason: why.length === 0 ? null : why.join('; ') }
}

/** One step of a run: safe to run twice, to crash anywhere in, and to run late. Failures are thrown as `Failure`. */
export type Step<S extends RunStep> = (run: MessageOf<S>, ports: Ports, ctx: Context) => Promise<Outcome<S>>

export const homeCluster = 'home'

/** The cluster that a disk was found in; it may have been taken out of the configuration since. */
export function clusterOf(disk: Disk, ports: Pick<Ports, 'clusters'>): Volumes {
  const volumes = ports.clusters[disk.cluster]
  if (!volumes)
    throw new Failure(
      'BAD_SETTING',
      `the cluster ${disk.cluster}, where ${disk.pool}/${disk.image} was found, is no longer configured.`,
    )
  return volumes
}

/** The cluster of Glance's pool. */
export function homeOf(ports: Pick<Ports, 'clusters'>): Volumes {
  const volumes = ports.clusters[homeCluster]
  if (!volumes) throw new Failure('BAD_SETTING', "the cluster of Glance's pool is not configured.")
  return volumes
}
