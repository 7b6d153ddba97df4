import { Failure } from '../shared/failures.ts'
import { guestOf, instanceLease, isThawed, release } from '../shared/freeze.ts'
import { lambdaThaw } from '../shared/lambda.ts'
import type { Lease } from '../shared/ports/journal.ts'
import type { MessageOf } from '../shared/run.ts'
import type { Context, Ports } from '../shared/step.ts'

/**
 * The dead man's switch. Its message is sent, delayed by the budget, before the freeze is: whatever becomes of the functions
 * in between, the guest is thawed. Thawing a thawed guest does nothing.
 *
 * A freeze that was asked for but never confirmed may still be on its way to the guest: then this comes back once a budget
 * until it cannot arrive any more.
 */
export async function thaw(
  message: MessageOf<'thaw'>,
  ports: Ports,
  ctx: Context,
): Promise<{ againInMs: number } | null> {
  const lease = await ports.leases.find(instanceLease(message.instance))
  if (!lease || lease.epoch !== message.epoch || !lease.freeze) return null
  const now = ctx.clock.nowMs()
  const ageMs = now - lease.freeze.askedAtMs
  const again = async (againInMs: number) => {
    await ports.leases.save({ ...lease, untilMs: now + againInMs + lostAfterMs })
    return { againInMs }
  }
  const heard = await isOver(lease, ports, ctx)
  // The guest may be frozen still, so never stop trying.
  if (heard !== true) return again(heard.retryInMs ?? (ageMs < latestFreezeMs ? 2_000 : 10_000))
  if (!lease.freeze.isConfirmed && ageMs < latestFreezeMs) return again(ctx.settings.freezeBudgetMs)
  await release(lease, ctx.clock.nowMs(), ports)
  return null
}

async function isOver(lease: Lease, ports: Ports, ctx: Context): Promise<true | { retryInMs?: number | undefined }> {
  try {
    return (await isThawed(guestOf(lease), ports, ctx)) || {}
  } catch (error) {
    if (!(error instanceof Failure)) throw error
    // no agent, nothing frozen
    return error.code === 'QUIESCE_UNAVAILABLE' || error
  }
}

/** While this comes back it keeps the lease alive; when it does not, the sweep sends another (functions/sweep.ts). */
const lostAfterMs = 30_000

/**
 * Our own freezes expire with the budget, on the bus; what nova-compute has taken from it, it has handed to libvirt by then. An agent
 * that hangs keeps libvirt waiting for longer, and the thaw with it: that one is answered after the freeze, and ends it.
 */
const latestFreezeMs = 60_000

export const handler = lambdaThaw(thaw)
