import type { Volumes } from '../ports/volumes.ts'
import { fsidOf } from './ceph-conf.ts'
import { flattenByTask } from './ceph-flatten.ts'
import { fullPoolByCommand } from './ceph-health.ts'
import type { Patience, RbdCalls } from './rbd-calls.ts'
import { commandCalls, type CommandOptions } from './rbd-commands.ts'
import type { RbdCommand } from './rbd-process.ts'
import { ordinaryPatience, volumesOver } from './rbd-volumes.ts'

export interface RbdOptions extends CommandOptions {
  /** the command `ceph`, where there is one: flattens are tasks of the managers then, and outlive this process too; a full pool is told */
  ceph?: string[] | undefined
  patience?: Patience | undefined
}

/** RBD through Ceph's own command line: for sites without the dashboard. */
export function rbdVolumes(options: RbdOptions): Volumes {
  const own = commandCalls(options)
  const calls = options.ceph ? withCeph(own, { ...options, command: options.ceph }) : own
  return volumesOver(calls, () => fsidOf(options.conf), options.patience ?? ordinaryPatience)
}

function withCeph(own: RbdCalls, ceph: RbdCommand): RbdCalls {
  return { ...flattenByTask(own, ceph), whyFull: (pool, signal) => fullPoolByCommand(ceph, pool, signal) }
}
