import { featureMask } from './ceph-features.ts'
import { objectBytes } from './ceph-blocks.ts'
import type { Cluster, ImageInfo } from './cluster.ts'
import { isoTime } from './dashboard-tasks.ts'

/**
 * `GET /api/block/image/{spec}` of 16.2, but for the ~80 entries of `configuration`: no option is set on any image
 * here.
 */
export function imageView(cluster: Cluster, info: ImageInfo, omitUsage: boolean) {
  const { pool, name, id, sizeBytes, features, parent } = info
  const used = (snap: string | null) => {
    return omitUsage || !features.includes('fast-diff') ? null : cluster.usedBytes(pool, name, snap)
  }
  const snapshots = info.snaps.map((snap) => snapView(snap, used(snap.name)))
  const ownUsage = used(null)
  return {
    size: sizeBytes,
    obj_size: objectBytes,
    num_objs: Math.ceil(sizeBytes / objectBytes),
    order: 22,
    block_name_prefix: `rbd_data.${id}`,
    // an image that was never mirrored says journal
    mirror_mode: 'journal',
    name,
    unique_id: `${pool}/${id}`,
    id,
    image_format: 2,
    pool_name: pool,
    namespace: null,
    features: featureMask(features),
    features_name: [...features].sort(),
    timestamp: isoTime(info.createdAtMs),
    stripe_count: 1,
    stripe_unit: objectBytes,
    data_pool: null,
    parent: parent && {
      pool_name: parent.pool,
      pool_namespace: '',
      image_name: parent.image,
      snap_name: parent.snap,
    },
    snapshots,
    total_disk_usage:
      ownUsage === null ? null : snapshots.reduce((sum, snap) => sum + (snap.disk_usage ?? 0), ownUsage),
    disk_usage: ownUsage,
    configuration: [],
  }
}

function snapView(snap: ImageInfo['snaps'][number], usedBytes: number | null) {
  return {
    id: snap.id,
    size: snap.sizeBytes,
    name: snap.name,
    namespace: 0,
    mirror_mode: 'journal',
    timestamp: isoTime(snap.createdAtMs),
    is_protected: snap.isProtected,
    used_bytes: null,
    children: snap.children.map((child) => ({ pool_name: child.pool, image_name: child.image })),
    ...(usedBytes === null ? {} : { disk_usage: usedBytes }),
  }
}
