import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { unwind } from '../../infra/cli/unwind.ts'
import { sqlite } from '../../shared/adapters/sqlite.ts'
import { drive, type DriveContext } from '../../shared/drive.ts'
import type { RunRecord } from '../../shared/ports/journal.ts'
import { messageVersion, type MessageOf, type RunStep } from '../../shared/run.ts'
import { sweep } from '../../functions/sweep.ts'
import { context, disk, due, instance, nowMs, portsOf, project, snapped, tagWish } from './given.ts'

let folder = ''
let store: ReturnType<typeof sqlite>
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'rbdsnap-cli-'))
  store = sqlite(join(folder, 'journal.sqlite'))
})
afterEach(() => {
  store.close()
  rmSync(folder, { recursive: true })
})

describe('rbdsnap run unwind', () => {
  it('makes a parked run due again, as the unwinding of what is noted, for the reason that parked it', async () => {
    const record = await noted({
      message: due<'clone'>({ step: 'clone', ...snapped }),
      outcome: 'parked',
      code: 'CEPH_REFUSED',
      reason: 'CEPH_REFUSED: 403',
      endedAtMs: nowMs - 5,
    })
    await unwind(record, store.journal, nowMs)
    expect(await stored()).toMatchObject({
      hop: 4,
      outcome: null,
      code: null,
      reason: null,
      endedAtMs: null,
      message: {
        step: 'unwind',
        hop: 4,
        tries: 0,
        sinceMs: nowMs,
        disk,
        undos: ['thaw', 'dropSourceSnapshot'],
        because: { code: 'CEPH_REFUSED', words: 'Unwound by hand. CEPH_REFUSED: 403', at: 'clone' },
      },
    })
  })

  it('is found by the next sweep', async () => {
    await unwind(await noted({ outcome: 'parked', code: 'UNKNOWN', endedAtMs: nowMs }), store.journal, nowMs)
    const { ports, calls } = portsOf({
      journal: store.journal,
      leases: store.leases,
      queue: { send: async () => {} },
      compute: { tagged: async () => [] },
    })
    expect(await sweep(ports, context())).toMatchObject({ sentAgain: 1 })
    expect(calls).toContain('queue.send unwind')
  })

  it('calls off a run that still goes on, and closes the step that it was at', async () => {
    await unwind(await noted({}), store.journal, nowMs)
    const record = await stored()
    expect(record.message).toMatchObject({ step: 'unwind', because: { code: 'CALLED_OFF', at: 'clone' } })
    expect(record.timeline.at(-1)).toMatchObject({ step: 'clone', outcome: 'failed', endedAtMs: nowMs })
  })

  it('waits for the claim of a function that is at work, whose outcome is not heard any more', async () => {
    const claim = { token: 'theirs', hop: 3, untilMs: nowMs + 8_000 }
    const claimed = await noted({ claim })
    await unwind(claimed, store.journal, nowMs)
    expect(await store.journal.save({ ...claimed, outcome: 'active' })).toBeNull()
    const record = await stored()
    const { ports } = portsOf({ journal: store.journal })
    const ctx: DriveContext = { ...context(), token: 't', jitter: 0, keepAlive: () => async () => {} }
    const message = record.message as MessageOf<'unwind'>
    const act = () => Promise.reject(new Error('it acted'))
    expect(await drive(message, act, ports, ctx)).toEqual({ is: 'left', because: 'busy' })
  })

  it('takes back a reservation that was parked before its first step', async () => {
    const heard = { is: 'tagged' as const, instance, project, tag: 'snapshot' }
    const message: MessageOf<'ingest'> = { v: messageVersion, step: 'ingest', tries: 0, heard }
    const record = await noted({ message, hop: 0, undos: ['releaseClaim'], outcome: 'parked', code: 'OVERDUE' })
    await unwind(record, store.journal, nowMs)
    const { message: next } = await stored()
    expect(next).toMatchObject({ step: 'unwind', hop: 1, disk: null, undos: ['releaseClaim'] })
    const running = await noted({ message, hop: 0, wish: { ...tagWish, run: 'aaaaaaaa-0000-5000-8000-000000000009' } })
    await expect(unwind(running, store.journal, nowMs)).rejects.toThrow('has not begun yet')
  })

  it.each<[RunStep, string]>([
    ['flatten', 'its image is active'],
    ['cleanup', 'its image is active'],
    ['unwind', 'is being unwound already'],
  ])('is refused at %s', async (step, why) => {
    for (const outcome of ['parked', null] as const) {
      const message = { ...due<'clone'>({ step: 'clone', ...snapped }), step } as unknown as RunRecord['message']
      const record = await noted({ message, outcome })
      await expect(unwind(record, store.journal, nowMs)).rejects.toThrow(why)
      expect(await stored()).toMatchObject({ outcome, hop: 3 })
    }
  })

  it.each(['active', 'fallback', 'nova-did-it', 'rejected'] as const)(
    'is refused when it ended %s',
    async (outcome) => {
      await expect(unwind(await noted({ outcome }), store.journal, nowMs)).rejects.toThrow(`has ended (${outcome})`)
    },
  )

  it('is refused to whoever looked at an older state', async () => {
    const record = await noted({ outcome: 'parked' })
    await store.journal.save({ ...record, progress: 0.5 })
    await expect(unwind(record, store.journal, nowMs)).rejects.toThrow('by somebody else')
  })
})

/** A run at its clone, in the journal as described. */
async function noted(more: Partial<RunRecord>): Promise<RunRecord> {
  const record: RunRecord = {
    wish: tagWish,
    version: 1,
    createdAtMs: nowMs - 1_000,
    updatedAtMs: nowMs - 100,
    hop: 3,
    message: due<'clone'>({ step: 'clone', ...snapped }),
    dueAtMs: nowMs - 100,
    claim: null,
    lost: 0,
    undos: ['thaw', 'dropSourceSnapshot'],
    timeline: [
      {
        step: 'clone',
        startedAtMs: nowMs - 100,
        endedAtMs: null,
        tries: 1,
        outcome: 'running',
        code: null,
        words: null,
      },
    ],
    progress: null,
    outcome: null,
    code: null,
    reason: null,
    endedAtMs: null,
    ...more,
  }
  const { record: there, isNew } = await store.journal.reserve(record)
  return isNew ? there : ((await store.journal.save({ ...record, version: there.version })) ?? there)
}

async function stored(): Promise<RunRecord> {
  const record = await store.journal.find(instance, tagWish.run)
  if (!record) throw new Error('the run is not in the journal')
  return record
}
