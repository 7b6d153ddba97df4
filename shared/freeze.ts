import type { Lease } from './ports/journal.ts'
import { isWorkingOnImage } from './server-state.ts'
import type { Context, Ports } from './step.ts'

/** The lease that one freeze at a time is taken under; its epoch tells this freeze from every other. */
export function instanceLease(instance: string): string {
  return `instance/${instance}`
}

/** After a thaw: the lease is free again, unless somebody else has it by now. */
export async function release(lease: Lease, nowMs: number, ports: Pick<Ports, 'leases'>): Promise<void> {
  await ports.leases.save({ ...lease, holder: null, freeze: null, thawed: { epoch: lease.epoch, atMs: nowMs } })
}

/**
 * Thaws, and asks the guest whether it is. One that has no channel may be saved to disk with its freeze in it: Nova suspends
 * guests for the whole of its own copy (nova/virt/libvirt/driver.py _suspend_guest_for_snapshot), as `openstack server
 * suspend` does, and they come back as frozen as they went. The answer is then false until it can be asked again.
 */
export async function isThawed(
  instance: string,
  ports: Pick<Ports, 'guest' | 'compute'>,
  ctx: Pick<Context, 'signal'>,
): Promise<boolean> {
  await ports.guest.thaw(instance, ctx.signal)
  const state = await ports.guest.state(instance, ctx.signal)
  if (state !== 'unknown') return state === 'thawed'
  const server = await ports.compute.find(instance, ctx.signal)
  const isSaved = server?.vmState === 'suspended' || server?.taskState === 'suspending'
  if (server && (isSaved || isWorkingOnImage(server))) return false
  return (await ports.guest.state(instance, ctx.signal)) !== 'frozen'
}
