import { type Cluster, RbdError } from './cluster.ts'
import type { NovaCore } from './nova-core.ts'

/** Everything that exists, for a test that looks at the world and not at return values. */
export function viewWorld(nova: NovaCore) {
  return {
    clusters: { a: viewCluster(nova.clusters.a), b: viewCluster(nova.clusters.b) },
    images: nova.glance
      .all()
      .filter((image) => image.status !== 'deleted')
      .map((image) => nova.glance.view(image, 'internal')),
    servers: nova.instances.all().filter((instance) => instance.vmState !== 'deleted'),
    guests: nova.guests.all(),
  }
}

function viewCluster(cluster: Cluster) {
  const pools = cluster.pools()
  const of = <T>(view: (pool: string) => T) => Object.fromEntries(pools.map((pool) => [pool, view(pool)]))
  return {
    fsid: cluster.fsid,
    pools: of((pool) => cluster.images(pool).map((image) => viewImage(cluster, pool, image))),
    trash: of((pool) => cluster.trash.list(pool)),
  }
}

function viewImage(cluster: Cluster, pool: string, image: string) {
  try {
    const { name, sizeBytes, parent, snaps, trashedSnaps, watchers, features } = cluster.info(pool, image)
    return { name, opens: true, sizeBytes, parent, snaps, trashedSnaps, watchers, features }
  } catch (error) {
    if (error instanceof RbdError && error.errno === 2) return { name: image, opens: false }
    throw error
  }
}
