import { setTimeout as sleep } from 'node:timers/promises'
import { RbdError } from './cluster.ts'
import type { NovaCore } from './nova-core.ts'
import type { Instance, RequestContext } from './nova-instances.ts'

/** nova/compute/manager.py `terminate_instance` */
export async function deleteInstance(nova: NovaCore, id: string, context: RequestContext): Promise<void> {
  const instance = nova.get(id)
  const elevated = { ...context, roles: [...new Set([...context.roles, 'admin'])] }
  nova.notify.action(instance, 'delete.start', context)
  nova.notify.action(instance, 'shutdown.start', elevated)
  nova.guests.remove(id)
  await destroyDisk(nova, instance)
  if (nova.isClosed()) return
  nova.save(id, {}, context)
  nova.notify.action(instance, 'shutdown.end', elevated)
  const deletedAtMs = Date.now()
  const gone = nova.save(id, { vmState: 'deleted', taskState: null, powerState: 0, deletedAtMs }, context)
  nova.notify.action(gone, 'delete.end', context)
  nova.endAction(context, 'compute_terminate_instance', null)
}

/**
 * nova/storage/rbd_utils.py `_destroy_volume`: a disk in use or with snapshots is tried again, and when the tries are used up
 * Nova goes on as if it were gone: the disk is leaked.
 */
async function destroyDisk(nova: NovaCore, { disk }: Instance): Promise<void> {
  const { destroyRetries, destroyRetryIntervalMs } = nova.settings()
  for (let left = destroyRetries; ; left -= 1) {
    try {
      nova.clusters[disk.cluster].remove(disk.pool, disk.image)
      return
    } catch (error) {
      if (!(error instanceof RbdError)) throw error
      if (error.errno !== 16 && error.errno !== 39) return
      if (left <= 0) return
    }
    await sleep(destroyRetryIntervalMs, undefined, { ref: false })
    if (nova.isClosed()) return
  }
}
