import type { Volumes } from '../ports/volumes.ts'
import { fsidOf } from './ceph-conf.ts'
import type { Patience } from './rbd-calls.ts'
import { commandCalls, type CommandOptions } from './rbd-commands.ts'
import { ordinaryPatience, volumesOver } from './rbd-volumes.ts'

export interface RbdOptions extends CommandOptions {
  patience?: Patience | undefined
}

/** RBD through Ceph's own command line: for sites without the dashboard. */
export function rbdVolumes(options: RbdOptions): Volumes {
  return volumesOver(commandCalls(options), () => fsidOf(options.conf), options.patience ?? ordinaryPatience)
}
