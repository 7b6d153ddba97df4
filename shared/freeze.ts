import type { Lease } from './ports/journal.ts'
import type { Ports } from './step.ts'

/** The lease that one freeze at a time is taken under; its epoch tells this freeze from every other. */
export function instanceLease(instance: string): string {
  return `instance/${instance}`
}

/** After a thaw: the lease is free again, unless somebody else has it by now. */
export async function release(lease: Lease, nowMs: number, ports: Pick<Ports, 'leases'>): Promise<void> {
  await ports.leases.save({ ...lease, holder: null, freeze: null, thawed: { epoch: lease.epoch, atMs: nowMs } })
}
