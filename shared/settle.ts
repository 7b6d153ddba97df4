import { dropAbandonedDisk } from './abandoned-disk.ts'
import { blacken } from './blacken.ts'
import { Failure } from './failures.ts'
import { show, sourceSnap, temporaryCopy } from './names.ts'
import { pipeline } from './pipeline.ts'
import type { RunRecord } from './ports/journal.ts'
import type { Disk, RunMessage } from './run.ts'
import { clusterOf, homeOf, type Context, type Ports } from './step.ts'
import { undos, type Undone } from './undo.ts'

/**
 * The last look at a run. A request that was on its way when its function died (a `snap create` that a monitor held up, a POST
 * in a proxy) may take effect after the run has ended, and nobody would look for it: a snapshot that keeps Nova from deleting
 * the disk, a copy, a record.
 *
 * So the undos stay noted when a run ends. Once nothing of it can be on its way any more, what it ended without is looked for
 * and removed, and the note of it is emptied: from then on nothing is that run's to remove.
 * - a run that made its image has neither source snapshot nor temporary copy; clone, record and claim are not touched
 * - a run that was turned back has nothing: its undos once more, each of which looks before it removes
 * - a parked run is a person's, and keeps everything
 */
export const settleAfterMs = Math.max(...Object.values(pipeline).map((row) => row.timeoutMs)) + 300_000

/** Of the sweep's minute; what is left is looked at in the next one. */
const lookForMs = 30_000
/** More than can be looked at in that time. */
const lookAt = 2_000

/**
 * How many were looked at for the last time. One after the other: the steps of runs fill the manager's places already. What cannot
 * be asked now is asked again by the next sweep.
 */
export async function settleEnded(ports: Ports, ctx: Context): Promise<number> {
  const now = ctx.clock.nowMs()
  let settled = 0
  for (const record of await ports.journal.unsettled(now - settleAfterMs, lookAt)) {
    if (ctx.signal.aborted || ctx.clock.nowMs() - now > lookForMs) break
    if (await settle(record, ports, ctx)) settled += 1
  }
  return settled
}

async function settle(record: RunRecord, ports: Ports, ctx: Context): Promise<boolean> {
  try {
    const found = await lastLook(record, ports, ctx)
    if (found === 'later') return false
    const reason = [record.reason, ...found].filter((words) => words !== null).join('; ')
    return (await ports.journal.save({ ...record, undos: [], reason: reason === '' ? null : reason })) !== null
  } catch (error) {
    const mayPass = error instanceof Failure && error.kind === 'retry'
    if (mayPass && !isForgotten(record, ctx)) return false
    await leaveToAPerson(record, error, ports, ctx)
    return (await ports.journal.save({ ...record, undos: [] })) !== null
  }
}

/** What was found and removed, in words for the run. */
async function lastLook(record: RunRecord, ports: Ports, ctx: Context): Promise<string[] | 'later'> {
  const { message } = record
  if (message.step === 'ingest') return []
  const disk = 'disk' in message ? message.disk : null
  const isHeld =
    disk !== null && record.undos.includes('dropSourceSnapshot') && (await isThere(message, disk, ports, ctx))
  if ((await undone(record, message, ports, ctx)) === 'later') return 'later'
  if (!isHeld) return []
  const words = [`${show(sourceSnap(record.wish, disk))} appeared after the run had ended and was removed`]
  const server = await ports.compute.find(record.wish.instance, ctx.signal)
  const leftover = server ? null : await dropAbandonedDisk(disk, ports, ctx)
  return leftover === null ? words : [...words, leftover]
}

async function isThere({ wish }: RunMessage, disk: Disk, ports: Ports, ctx: Context): Promise<boolean> {
  const state = await clusterOf(disk, ports).find(disk, ctx.signal)
  return state?.snaps.some((s) => s.name === sourceSnap(wish, disk).snap) ?? false
}

async function undone(record: RunRecord, message: RunMessage, ports: Ports, ctx: Context): Promise<Undone> {
  const { wish } = record
  if (message.step === 'unwind') {
    // The freeze has its own guard, and a later run may hold the guest by now.
    for (const name of record.undos.toReversed().filter((undo) => undo !== 'thaw')) {
      if ((await undos[name](message, ports, ctx)) === 'later') return 'later'
    }
  } else if (message.step === 'cleanup') {
    if (record.undos.includes('dropCopy'))
      await homeOf(ports).ensureAbsent(temporaryCopy(wish, ctx.settings.glancePool), [], ctx.signal)
    if (record.undos.includes('dropSourceSnapshot'))
      await clusterOf(message.disk, ports).ensureSnapshotAbsent(sourceSnap(wish, message.disk), ctx.signal)
  }
  return 'undone'
}

/** Asked every minute for a day. */
function isForgotten({ endedAtMs }: RunRecord, ctx: Context): boolean {
  return ctx.clock.nowMs() - (endedAtMs ?? 0) > 86_400_000
}

/** The run keeps its outcome: its tag has the next epoch already. What is left of it is set aside under its own name. */
async function leaveToAPerson({ wish }: RunRecord, error: unknown, ports: Ports, ctx: Context): Promise<void> {
  const words = blacken(error instanceof Error ? error.message : String(error))
  await ports.journal.park({
    id: `left/${wish.run}`,
    atMs: ctx.clock.nowMs(),
    code: 'UNDO_FAILED',
    words: `After run ${wish.run} had ended: ${words}`,
    body: JSON.stringify(wish),
  })
}
