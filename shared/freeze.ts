import type { GuestAt } from './ports/guest.ts'
import type { Lease } from './ports/journal.ts'
import { isSaved, isWorkingOnImage } from './server-state.ts'
import type { Context, Ports } from './step.ts'

/** The lease that one freeze at a time is taken under; its epoch tells this freeze from every other. */
export function instanceLease(instance: string): string {
  return `instance/${instance}`
}

/** The guest that this lease is about, where it was when it was frozen. */
export function guestOf({ key, freeze }: Lease): GuestAt {
  return { instance: key.replace(/^instance\//, ''), host: freeze?.host ?? null }
}

/** After a thaw: the lease is free again, unless somebody else has it by now. */
export async function release(lease: Lease, nowMs: number, ports: Pick<Ports, 'leases'>): Promise<void> {
  await ports.leases.save({ ...lease, holder: null, freeze: null, thawed: { epoch: lease.epoch, atMs: nowMs } })
}

/**
 * Thaws. One that nobody heard of may be saved to disk with its freeze in it: Nova suspends guests for the whole of its own copy
 * (nova/virt/libvirt/driver.py _suspend_guest_for_snapshot), as `openstack server suspend` does, and they come back as
 * frozen as they went. The answer is then false until it can be asked again.
 */
export async function isThawed(
  at: GuestAt,
  ports: Pick<Ports, 'guest' | 'compute'>,
  ctx: Pick<Context, 'signal'>,
): Promise<boolean> {
  if ((await ports.guest.thaw(at, ctx.signal)) === 'thawed') return true
  const server = await ports.compute.find(at.instance, ctx.signal)
  if (server && (isSaved(server) || isWorkingOnImage(server))) return false
  // it may have come back while Nova was asked
  await ports.guest.thaw(at, ctx.signal)
  return true
}
