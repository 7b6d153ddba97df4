import { Failure } from '../shared/failures.ts'
import { guestOf, instanceLease, isThawed, release } from '../shared/freeze.ts'
import { lambda } from '../shared/lambda.ts'
import { isOff } from '../shared/server-state.ts'
import { novaDisk } from '../shared/names.ts'
import type { Server } from '../shared/ports/compute.ts'
import type { GuestAt } from '../shared/ports/guest.ts'
import type { Lease } from '../shared/ports/journal.ts'
import type { Disk, MessageOf, QuiescePolicy, Wish } from '../shared/run.ts'
import { homeCluster, type Context, type Outcome, type Ports, type Step } from '../shared/step.ts'

/**
 * Finds the disk, decides how consistent the snapshot is to be, and freezes the guest.
 *
 * Order: take the instance's lease (one freeze at a time, a new epoch) -> note that a freeze is asked for -> send the delayed
 * thaw, which bears the epoch -> freeze -> note that it holds. A crash anywhere after the delayed thaw is sent leaves a guest
 * that thaws by itself; before it, none is frozen. The driver has noted the undo `thaw` before any of this.
 */
export const quiesce: Step<'quiesce'> = async (run, ports, ctx) => {
  const { wish } = run
  const server = await ports.compute.find(wish.instance, ctx.signal)
  if (!server) throw new Failure('INSTANCE_GONE', `instance ${wish.instance}`)
  const [disk, { policy, doubt }] = await Promise.all([
    findDisk(wish.instance, ports, ctx),
    policyOf(wish, server, ports, ctx),
  ])
  const go = (freeze: MessageOf<'snapshot'>['freeze']): Outcome<'quiesce'> => ({
    is: 'done',
    next: { step: 'snapshot', wish, disk, policy, freeze },
  })
  if (isOff(server)) return go({ is: 'offline', why: `the instance is ${server.vmState}` })
  if (policy === 'none') return go({ is: 'none', why: 'no freeze was asked for' })

  const now = ctx.clock.nowMs()
  const lease = await ports.leases.take(instanceLease(wish.instance), wish.run, now, now + leaseMs(ctx))
  if (!lease) return { is: 'waiting', inMs: 1_000 }
  if (lease.freeze) return startOver(lease, ports, ctx)
  const guest = await reached(server, policy, ports, ctx)
  if (guest instanceof Failure) {
    await release(lease, ctx.clock.nowMs(), ports)
    if (policy === 'require') throw guest
    return go({ is: 'none', why: `the guest could not be frozen: ${guest.words}${doubt}` })
  }
  return freeze(guest, policy, doubt, lease, ports, ctx, go)
}

/**
 * A channel with nobody behind it: asked before anything is noted, because a freeze that was asked for and not answered has to
 * be taken for a freeze until the guest says that it is none, which this guest never will.
 */
async function reached(
  { id, host }: Server,
  policy: QuiescePolicy,
  ports: Ports,
  ctx: Context,
): Promise<GuestAt | Failure> {
  if (policy === 'require' && ports.guest.proves !== 'filesystem')
    return new Failure('QUIESCE_UNAVAILABLE', 'RBDSNAP_GUEST stops guests, and does not flush their file systems.')
  try {
    return await ports.guest.reach({ instance: id, host }, ctx.signal)
  } catch (error) {
    if (error instanceof Failure) return error
    throw error
  }
}

async function freeze(
  guest: GuestAt,
  policy: QuiescePolicy,
  doubt: string,
  lease: Lease,
  ports: Ports,
  ctx: Context,
  go: (freeze: MessageOf<'snapshot'>['freeze']) => Outcome<'quiesce'>,
): Promise<Outcome<'quiesce'>> {
  const askedAtMs = ctx.clock.nowMs()
  const { instance, host } = guest
  const asked = await ports.leases.save({ ...lease, freeze: { askedAtMs, isConfirmed: false, host } })
  if (!asked) return { is: 'waiting', inMs: 1_000 }
  await ports.queue.send({ v: 1, step: 'thaw', instance, epoch: lease.epoch }, ctx.settings.freezeBudgetMs)
  try {
    await ports.guest.freeze(guest, askedAtMs + ctx.settings.freezeBudgetMs, ctx.signal)
  } catch (error) {
    // It may have taken effect all the same: thaw, even though the freeze reported an error.
    await ports.guest.thaw(guest, ctx.signal).catch(() => undefined)
    const isAbsent = error instanceof Failure && error.code === 'QUIESCE_UNAVAILABLE'
    if (isAbsent) await ports.leases.save({ ...asked, holder: null, freeze: null })
    if (!(error instanceof Failure) || policy === 'require') throw error
    return go({ is: 'none', why: `the guest could not be frozen: ${error.words}${doubt}` })
  }
  const confirmed = await ports.leases.save({ ...asked, freeze: { askedAtMs, isConfirmed: true, host } })
  if (!confirmed) return startOver(asked, ports, ctx)
  return go({ is: 'frozen', epoch: lease.epoch, askedAtMs })
}

/** A freeze of an earlier delivery, or of a run that died, is in the way: nobody can vouch for it any more. */
async function startOver(lease: Lease, ports: Ports, ctx: Context): Promise<Outcome<'quiesce'>> {
  if (await isThawed(guestOf(lease), ports, ctx)) await release(lease, ctx.clock.nowMs(), ports)
  return { is: 'waiting', inMs: 1_000 }
}

/** Longer than a freeze may last, so that a second run cannot freeze into the first one's window. */
function leaseMs(ctx: Context): number {
  return ctx.settings.freezeBudgetMs + 30_000
}

async function findDisk(instance: string, ports: Ports, ctx: Context): Promise<Disk> {
  const wanted = novaDisk(ctx.settings.novaPool, instance)
  const names = Object.keys(ports.clusters).sort((a, b) => Number(b === homeCluster) - Number(a === homeCluster))
  for (const cluster of names) {
    const state = await ports.clusters[cluster]?.find(wanted, ctx.signal)
    if (state) return { cluster, ...wanted, sizeBytes: state.sizeBytes }
  }
  throw new Failure('NO_RBD_DISK', `${wanted.pool}/${wanted.image} is in none of the clusters ${names.join(', ')}.`)
}

/**
 * Nova copies the base image's properties onto the image that it makes (nova/compute/utils.py), so in a take-over they are
 * there even when the base image is gone. An image that requires quiescing is never given less; by tag, with the base image
 * gone, nobody can say any more whether it did, and the verdict says that.
 */
async function policyOf(
  wish: Wish,
  server: Server,
  ports: Ports,
  ctx: Context,
): Promise<{ policy: QuiescePolicy; doubt: string }> {
  const id = wish.trigger.is === 'take-over' ? wish.image : server.baseImage
  const image = id === null ? null : await ports.images.find(id, ctx.signal)
  const isYes = (name: string) => ['yes', 'true', '1'].includes((image?.properties[name] ?? '').toLowerCase())
  const doubt = image === null ? '; its base image is gone, so whether that required a freeze is not known' : ''
  if (isYes('os_require_quiesce')) return { policy: 'require', doubt }
  if (wish.quiesce !== 'auto') return { policy: wish.quiesce, doubt }
  if (isYes('hw_qemu_guest_agent')) return { policy: 'prefer', doubt }
  return { policy: image === null ? 'prefer' : 'none', doubt }
}

export const handler = lambda('quiesce', quiesce)
