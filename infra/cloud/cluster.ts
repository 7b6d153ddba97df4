import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { blocksSchema, openBlocks } from './ceph-blocks.ts'
import { catalogSchema, openCatalog } from './ceph-catalog.ts'
import { cloneOperations } from './ceph-clones.ts'
import { dataOperations } from './ceph-data.ts'
import { imageOperations } from './ceph-images.ts'
import { monitorRounds } from './ceph-monitor.ts'
import { snapOperations } from './ceph-snaps.ts'
import { openStore } from './ceph-store.ts'

export { RbdError } from './ceph-errors.ts'
export type { HalfMade, Pace } from './ceph-clones.ts'
export type { ImageInfo, TrashEntry } from './ceph-images.ts'

/**
 * An embedded Ceph cluster as librbd shows it: pools of images, snapshots and clones, over sparse files. Everything
 * throws RbdError as librbd would, and all state survives kill -9 of the process, whatever it was doing.
 */
export function openCluster(options: {
  dataDir: string
  fsid: string
  pools: readonly string[]
  /** 0: snapshots are made and removed at once */
  paxosProposeIntervalMs: number
  /** 1 is what a stock 16.2 cluster has (rbd_default_clone_format=auto, require_min_compat_client=luminous) */
  cloneFormat: 1 | 2
}) {
  mkdirSync(options.dataDir, { recursive: true })
  const store = openStore(join(options.dataDir, 'cluster.db'), catalogSchema + blocksSchema)
  const blocks = openBlocks(join(options.dataDir, 'images'), store)
  const catalog = openCatalog(store, blocks)
  const rounds = monitorRounds(options.paxosProposeIntervalMs)

  const full = new Set<string>()

  for (const pool of options.pools) store.run('INSERT OR IGNORE INTO pools (name) VALUES (?)', pool)
  blocks.sweep(new Set(store.all<{ seq: number }>('SELECT seq FROM images').map((row) => row.seq)))

  return {
    fsid: options.fsid,
    cloneFormat: options.cloneFormat,
    pools: () => store.all<{ name: string }>('SELECT name FROM pools ORDER BY name').map((row) => row.name),
    fullPools: () => [...full],
    /** as far as the monitors say; what is written there is not held up */
    setFull(pool: string, isFull: boolean) {
      if (isFull) full.add(pool)
      else full.delete(pool)
    },
    ...imageOperations(store, catalog, blocks),
    ...snapOperations(store, catalog, rounds),
    ...cloneOperations(store, catalog, blocks, options.cloneFormat),
    ...dataOperations(store, catalog, blocks),
    close() {
      rounds.stop()
      blocks.close()
      store.close()
    },
  }
}
export type Cluster = ReturnType<typeof openCluster>
