import { elapsedMs } from '../shared/elapsed.ts'
import { Failure } from '../shared/failures.ts'
import { guestOf, instanceLease, isThawed, release } from '../shared/freeze.ts'
import { isOff } from '../shared/server-state.ts'
import { lambda } from '../shared/lambda.ts'
import { sourceSnap } from '../shared/names.ts'
import type { Lease } from '../shared/ports/journal.ts'
import type { Consistency, MessageOf } from '../shared/run.ts'
import { clusterOf, type Context, type Outcome, type Ports, type Step } from '../shared/step.ts'

/**
 * One `snap create`, and nothing else, inside the window; then the thaw, at once. The verdict is by evidence: the freeze of our
 * own epoch held before and after; anything less is `crash`, with the reason in words.
 *
 * Order: take the window (the freeze is noted as unconfirmed again) -> has it held? -> `snap create` -> has it held? -> thaw.
 * Asking may freeze a guest anew that had thawed (shared/ports/guest.ts). From the note on the armed thaw therefore comes back
 * until no freeze can arrive any more, and whoever finds the note, as after a crash, can no longer vouch for this freeze.
 */
export const snapshot: Step<'snapshot'> = async (run, ports, ctx) => {
  const { wish, disk, freeze } = run
  if (freeze.is === 'frozen') return inWindow(run, freeze, ports, ctx)
  await clusterOf(disk, ports).ensureSnapshot(sourceSnap(wish, disk), ctx.signal)
  return { is: 'done', next: { step: 'clone', wish, disk, why: [], consistency: await unfrozen(run, ports, ctx) } }
}

type Frozen = Extract<MessageOf<'snapshot'>['freeze'], { is: 'frozen' }>

async function inWindow(
  run: MessageOf<'snapshot'>,
  freeze: Frozen,
  ports: Ports,
  ctx: Context,
): Promise<Outcome<'snapshot'>> {
  const { wish, disk, policy } = run
  const ours = await take(wish.instance, freeze, ports)
  const untilMs = freeze.askedAtMs + ctx.settings.freezeBudgetMs
  const hasHeld = async () => ours !== null && ports.guest.hasHeld(guestOf(ours), untilMs, ctx.signal)
  let before = false
  let after = false
  try {
    before = await hasHeld()
    if (!before && policy === 'require')
      throw new Failure('QUIESCE_LOST', `instance ${wish.instance} was thawed before its disk was snapshotted.`)
    await clusterOf(disk, ports).ensureSnapshot(sourceSnap(wish, disk), ctx.signal)
    after = before && (await hasHeld())
  } catch (error) {
    // Nothing is gained by standing still. Should this thaw fail, the armed one follows.
    await thawNow(run, freeze, ports, ctx).catch(() => undefined)
    throw error
  }
  const frozenMs = await thawNow(run, freeze, ports, ctx)
  if (!after && policy === 'require')
    throw new Failure('QUIESCE_LOST', `instance ${wish.instance} was thawed while its disk was snapshotted.`)
  return { is: 'done', next: { step: 'clone', wish, disk, why: [], consistency: { ...verdict(), frozenMs } } }

  function verdict(): Pick<Consistency, 'verdict' | 'why'> {
    if (!after) return { verdict: 'crash', why: `the guest thawed ${before ? 'during' : 'before'} the snapshot` }
    if (ports.guest.proves === 'filesystem')
      return { verdict: 'filesystem', why: 'the guest was frozen before and after the snapshot' }
    return { verdict: 'crash', why: 'the guest was paused before and after the snapshot, its file systems not flushed' }
  }
}

/** In our epoch, and confirmed: no delivery has asked in it before, so nothing but `quiesce` can have frozen this guest. */
async function take(instance: string, { epoch }: Frozen, ports: Ports): Promise<Lease | null> {
  const lease = await ports.leases.find(instanceLease(instance))
  if (lease?.epoch !== epoch || !lease.freeze?.isConfirmed) return null
  return ports.leases.save({ ...lease, freeze: { ...lease.freeze, isConfirmed: false } })
}

/** How long the guest stood still: until now, or until somebody else thawed it. */
async function thawNow({ wish }: MessageOf<'snapshot'>, freeze: Frozen, ports: Ports, ctx: Context): Promise<number> {
  const lease = await ports.leases.find(instanceLease(wish.instance))
  // In another epoch our freeze is over, and another run's may hold.
  const isOurs = lease?.epoch === freeze.epoch && lease.freeze !== null
  const isOver = isOurs && (await isThawedAtLast(lease, ports, ctx))
  const now = ctx.clock.nowMs()
  // If it is not over, the armed thaw sees to it.
  if (isOver) await release(lease, now, ports)
  const thawedAtMs = lease?.thawed?.epoch === freeze.epoch ? lease.thawed.atMs : now
  return elapsedMs(freeze.askedAtMs, thawedAtMs)
}

/** Once more at once, where that is allowed: the delivery that follows a failure can no longer vouch for the freeze. */
function isThawedAtLast(lease: Lease, ports: Ports, ctx: Context): Promise<boolean> {
  const thaw = () => isThawed(guestOf(lease), ports, ctx)
  return thaw().catch((error: unknown) => {
    if (error instanceof Failure && error.retryInMs === undefined) return thaw()
    throw error
  })
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
