import type { Ports } from './step.ts'

/** The lease that one freeze at a time is taken under; its epoch tells this freeze from every other. */
export function instanceLease(instance: string): string {
  return `instance/${instance}`
}

/** After a thaw: the lease is free again, unless somebody else has it by now. */
export async function release(instance: string, epoch: number, ports: Pick<Ports, 'leases'>): Promise<void> {
  const lease = await ports.leases.find(instanceLease(instance))
  if (lease?.epoch === epoch) await ports.leases.save({ ...lease, holder: null, freeze: null })
}
