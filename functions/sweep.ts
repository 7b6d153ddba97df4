import { lambdaSweep } from '../shared/lambda.ts'
import { tagRun } from '../shared/names.ts'
import { requestTag } from '../shared/rules.ts'
import { messageVersion } from '../shared/run.ts'
import { sendAgain } from '../shared/send-again.ts'
import { settleEnded } from '../shared/settle.ts'
import type { Context, Ports } from '../shared/step.ts'

/**
 * The broom, once a minute: whatever the bus, a queue or a process lost is found again in the journal and in
 * Nova. It sends, and what it sends is safe twice; last it looks at runs that ended a while ago (shared/settle.ts), and removes
 * only what such a run's own record still notes.
 */
export async function sweep(ports: Ports, ctx: Context): Promise<Swept> {
  const thawed = await thawOverdue(ports, ctx)
  const sentAgain = await sendLostAgain(ports, ctx)
  const found = await findLostRequests(ports, ctx)
  const settled = await settleEnded(ports, ctx)
  return { thawed, sentAgain, found, settled }
}

type Swept = Record<'thawed' | 'sentAgain' | 'found' | 'settled', number>

/**
 * Every freeze should be over by its budget; the armed thaw of this one was lost, or its guest does not answer. A thaw that
 * keeps coming back for such a guest keeps the lease alive, and needs no twin each minute.
 */
async function thawOverdue(ports: Ports, ctx: Context): Promise<number> {
  const now = ctx.clock.nowMs()
  const frozen = await ports.leases.frozen()
  const overdue = frozen.filter((l) => {
    const ageMs = l.freeze ? now - l.freeze.askedAtMs : 0
    return ageMs > ctx.settings.freezeBudgetMs && (ageMs < urgentMs || l.untilMs < now)
  })
  for (const { key, epoch } of overdue) {
    await ports.queue.send({ v: messageVersion, step: 'thaw', instance: key.replace(/^instance\//, ''), epoch })
  }
  return overdue.length
}

/** For so long a twin is cheaper than the doubt. */
const urgentMs = 120_000
/** A message is due at a time; this long after it nobody has claimed it, so no queue has it any more, or it takes a twin. */
const lostAfterMs = 30_000
const atOnce = 200
/** Those that wait for their next copy are the oldest: we look past them. */
const lookAt = 2_000
/** The door itself tries for three hours (shared/drive-ingest.ts); what could not be begun for longer is for a person. */
const neverBegunMs = 4 * 3_600_000

async function sendLostAgain(ports: Ports, ctx: Context): Promise<number> {
  const now = ctx.clock.nowMs()
  let sent = 0
  for (const record of await ports.journal.overdue(now - lostAfterMs, lookAt)) {
    if (sent === atOnce) break
    if (record.hop === 0 && now - record.updatedAtMs > neverBegunMs) {
      await ports.journal.save({
        ...record,
        outcome: 'parked',
        code: 'OVERDUE',
        reason: 'The run could not be begun.',
        endedAtMs: now,
      })
      continue
    }
    if (await sendAgain(record, lostAfterMs, ports, ctx)) sent += 1
  }
  return sent
}

/** `snapshot:NAME` cannot be asked for without knowing the name; the bare tag can. */
async function findLostRequests(ports: Ports, ctx: Context): Promise<number> {
  let found = 0
  for (const server of await ports.compute.tagged(requestTag, ctx.signal)) {
    const epoch = await ports.journal.tagEpoch(server.id, requestTag)
    // in the making, or parked with its tag
    if (await ports.journal.find(server.id, tagRun(server.id, requestTag, epoch))) continue
    const heard = { is: 'tagged' as const, instance: server.id, project: server.project, tag: requestTag }
    await ports.queue.send({ v: messageVersion, step: 'ingest', tries: 0, heard })
    found += 1
  }
  return found
}

export const handler = lambdaSweep(sweep)
