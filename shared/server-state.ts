import type { Server } from './ports/compute.ts'

/**
 * Nova's task states from createImage and createBackup on (nova/compute/task_states.py). While one of them stands, Nova may
 * still write to the image or delete it.
 */
const imageTasks = new Set([
  'image_snapshot_pending',
  'image_snapshot',
  'image_pending_upload',
  'image_uploading',
  'image_backup',
])

export function isWorkingOnImage(server: Server): boolean {
  return server.taskState !== null && imageTasks.has(server.taskState)
}

/**
 * The same, when the server may be on its way out or gone: Nova's snapshot goes on then, seen nowhere in its API, and deletes
 * the image when it fails (nova/compute/manager.py delete_image_on_error). So it is given time, from when it was first asked.
 */
export function mayWorkOnImage(server: Server | null, sinceMs: number, nowMs: number): boolean {
  if (!server) return nowMs - sinceMs < 1_800_000
  return server.taskState === 'deleting' || isWorkingOnImage(server)
}

/** Nova's task states in which it removes the root disk (nova/compute/manager.py delete, rebuild and shelve_offload). */
const disklessTasks = new Set(['deleting', 'rebuilding', 'shelving_offloading'])
export function removesDisk({ taskState }: Server): boolean {
  return taskState !== null && disklessTasks.has(taskState)
}

/** Its memory is on disk, or on its way there. */
export function isSaved(server: Server): boolean {
  return server.vmState === 'suspended' || server.taskState === 'suspending'
}

/**
 * Nothing runs in it: no freeze is needed, and none is possible. Not one that Nova is just starting or resuming, and not one in
 * ERROR, which says nothing of its power.
 */
const offStates = new Set(['stopped', 'paused', 'suspended', 'shelved', 'shelved_offloaded', 'soft-delete'])
export function isOff(server: Server): boolean {
  return offStates.has(server.vmState) && (server.taskState === null || isWorkingOnImage(server))
}
