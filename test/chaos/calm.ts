import { setTimeout as sleep } from 'node:timers/promises'
import { queueSteps } from '../../infra/embedded/queue.ts'
import type { Session } from '../../infra/cli/session.ts'
import { messageVersion } from '../../shared/run.ts'
import type { Stage } from './stage.ts'

/**
 * After the last kill: the sweep does its work until nothing moves. Some of that takes half an hour by the clock (Nova's attempt on
 * an image whose server is gone, the last look at a run), so the functions' clocks are then set forward instead of waiting.
 */
const goneForwardMs = 35 * 60_000
const settledForwardMs = 70 * 60_000

export async function untilCalm(stage: Stage, say: (line: string) => void): Promise<void> {
  const { session } = stage
  say('calm: sweeping until nothing moves')
  await sweepUntil(session, 150_000, () => openRuns(session), say)
  stage.setForward(goneForwardMs)
  say(`calm: the functions' clocks are ${goneForwardMs / 60_000} minutes ahead now`)
  await sweepUntil(session, 90_000, () => openRuns(session), say)
  stage.setForward(settledForwardMs)
  say(`calm: the functions' clocks are ${settledForwardMs / 60_000} minutes ahead now, for the last look at each run`)
  await sweepUntil(session, 90_000, () => unsettledRuns(session), say)
}

/** Once every so often, as a schedule does it; not while the one before is still under way. */
export async function sweepNow(session: Session): Promise<void> {
  if ((await session.depthOf('sweep')) === 0)
    await session.queue.send({ v: messageVersion, step: 'sweep' }).catch(() => undefined)
}

const tellEveryMs = 15_000
const mostMs = 40 * 60_000

/** Until the count is nothing and so are the queues, or it has not changed for so long. */
async function sweepUntil(
  session: Session,
  patienceMs: number,
  count: () => Promise<number>,
  say: (line: string) => void,
): Promise<void> {
  const endAtMs = Date.now() + mostMs
  let saidAtMs = 0
  let last = { count: -1, atMs: Date.now() }
  for (let calm = 0; calm < 3 && Date.now() < endAtMs;) {
    await sweepNow(session)
    await sleep(2_000)
    const now = await count()
    const waiting = await waitingMessages(session)
    calm = now === 0 && waiting === 0 ? calm + 1 : 0
    if (now !== last.count) last = { count: now, atMs: Date.now() }
    if (Date.now() - last.atMs > patienceMs) return
    if (Date.now() - saidAtMs < tellEveryMs) continue
    saidAtMs = Date.now()
    say(`calm: ${now} to go, ${waiting} messages`)
  }
}

async function openRuns({ journal }: Session): Promise<number> {
  return (await journal.counts()).reduce((sum, c) => sum + (c.outcome === null ? c.runs : 0), 0)
}

async function unsettledRuns({ journal }: Session): Promise<number> {
  return (await journal.unsettled(Number.MAX_SAFE_INTEGER, 1_000_000)).length
}

/** Sweeps aside: those are ours. */
async function waitingMessages(session: Session): Promise<number> {
  const depths = await Promise.all(queueSteps.filter((s) => s !== 'sweep').map((s) => session.depthOf(s)))
  return depths.reduce<number>((sum, depth) => sum + (depth ?? 1), 0)
}
