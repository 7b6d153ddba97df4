import { Failure } from '../shared/failures.ts'
import { instanceLease, isThawed, release } from '../shared/freeze.ts'
import { isOff } from '../shared/server-state.ts'
import { lambda } from '../shared/lambda.ts'
import { sourceSnap } from '../shared/names.ts'
import type { Consistency, MessageOf } from '../shared/run.ts'
import { clusterOf, type Context, type Ports, type Step } from '../shared/step.ts'

/**
 * One `snap create`, and nothing else, inside the window; then the thaw, at once. The verdict is by evidence: frozen before
 * and frozen after, in the epoch of our own freeze, is `filesystem`; anything less is `crash`, with the reason in words.
 */
export const snapshot: Step<'snapshot'> = async (run, ports, ctx) => {
  const { wish, disk, policy, freeze } = run
  const volumes = clusterOf(disk, ports)
  const snap = sourceSnap(wish, disk)
  if (freeze.is !== 'frozen') {
    await volumes.ensureSnapshot(snap, ctx.signal)
    return { is: 'done', next: { step: 'clone', wish, disk, why: [], consistency: await unfrozen(run, ports, ctx) } }
  }
  const wasFrozen = await isFrozen(run, ports, ctx)
  if (!wasFrozen && policy === 'require') {
    throw new Failure('QUIESCE_LOST', `instance ${wish.instance} was thawed before its disk was snapshotted.`)
  }
  try {
    await volumes.ensureSnapshot(snap, ctx.signal)
  } catch (error) {
    // Nothing is gained by standing still while Ceph is away. Should this thaw fail, the armed one follows.
    await thawNow(run, freeze, ports, ctx).catch(() => undefined)
    throw error
  }
  const isStill = wasFrozen && (await isFrozen(run, ports, ctx))
  const frozenMs = await thawNow(run, freeze, ports, ctx)
  if (!isStill && policy === 'require') {
    throw new Failure('QUIESCE_LOST', `instance ${wish.instance} was thawed while its disk was snapshotted.`)
  }
  const consistency: Consistency = isStill
    ? { verdict: 'filesystem', why: 'the guest was frozen before and after the snapshot', frozenMs }
    : { verdict: 'crash', why: `the guest thawed ${wasFrozen ? 'during' : 'before'} the snapshot`, frozenMs }
  return { is: 'done', next: { step: 'clone', wish, disk, consistency, why: [] } }
}

type Frozen = Extract<MessageOf<'snapshot'>['freeze'], { is: 'frozen' }>

async function isFrozen(run: MessageOf<'snapshot'>, ports: Ports, ctx: Context): Promise<boolean> {
  if (run.freeze.is !== 'frozen') return false
  const lease = await ports.leases.find(instanceLease(run.wish.instance))
  const isOurs = lease?.epoch === run.freeze.epoch && lease.freeze !== null
  return isOurs && (await ports.guest.state(run.wish.instance, ctx.signal)) === 'frozen'
}

/** How long the guest stood still: until now, or until somebody else thawed it. */
async function thawNow({ wish }: MessageOf<'snapshot'>, freeze: Frozen, ports: Ports, ctx: Context): Promise<number> {
  const lease = await ports.leases.find(instanceLease(wish.instance))
  // In another epoch our freeze is over, and another run's may hold.
  const isOurs = lease?.epoch === freeze.epoch && lease.freeze !== null
  const isOver = isOurs && (await isThawed(wish.instance, ports, ctx))
  const now = ctx.clock.nowMs()
  // If it is not over, the armed thaw sees to it.
  if (isOver) await release(lease, now, ports)
  const thawedAtMs = lease?.thawed?.epoch === freeze.epoch ? lease.thawed.atMs : now
  return thawedAtMs - freeze.askedAtMs
}

async function unfrozen(run: MessageOf<'snapshot'>, ports: Ports, ctx: Context): Promise<Consistency> {
  const { freeze, wish } = run
  const why = freeze.is === 'frozen' ? '' : freeze.why
  if (freeze.is !== 'offline') return { verdict: 'crash', why, frozenMs: null }
  const server = await ports.compute.find(wish.instance, ctx.signal)
  if (server && isOff(server)) return { verdict: 'offline', why, frozenMs: null }
  return { verdict: 'crash', why: `${why}, but not any more after the snapshot`, frozenMs: null }
}

export const handler = lambda('snapshot', snapshot)
