import { describe, expect, it, onTestFinished } from 'vitest'
import type { Journal, Lease, Leases, RunRecord } from '../../shared/ports/journal.ts'
import { messageVersion, type Wish } from '../../shared/run.ts'

/** A store and the ways to it: two at once, as two functions have them, and one opened afresh. */
export interface JournalWays {
  first: { journal: Journal; leases: Leases }
  second: { journal: Journal; leases: Leases }
  reopened: () => Promise<{ journal: Journal; leases: Leases }>
  close: () => Promise<void>
}

const instance = '2ea85081-e9bb-4d02-8bc0-a7302c847e8c'
const other = '89c56d91-1111-4222-8333-444455556666'
const project = '13fcaa0fddb64917b16214698f0e086f'

export function describeJournal(name: string, make: () => Promise<JournalWays>): void {
  async function ways(): Promise<JournalWays> {
    const made = await make()
    onTestFinished(made.close)
    return made
  }

  describe(`${name}: the runs`, () => {
    it('a run is reserved once; whoever comes second is given what stands there', async () => {
      const { first, second } = await ways()
      expect(await first.journal.reserve(run(1))).toEqual({ record: run(1), isNew: true })
      const late = { ...run(1), createdAtMs: 99, undos: ['thaw' as const] }
      expect(await second.journal.reserve(late)).toEqual({ record: run(1), isNew: false })
    })

    it('of two that reserve at the same time one is first', async () => {
      const { first, second } = await ways()
      const both = await Promise.all([first.journal.reserve(run(1)), second.journal.reserve(run(1))])
      expect(both.filter((r) => r.isNew)).toHaveLength(1)
    })

    it('a run is found by instance and run, and nobody else is', async () => {
      const { first, second } = await ways()
      await first.journal.reserve(run(1))
      expect(await second.journal.find(instance, idOf(1))).toEqual(run(1))
      expect(await second.journal.find(other, idOf(1))).toBeNull()
      expect(await second.journal.find(instance, idOf(2))).toBeNull()
    })

    it('a save counts the version up, and is refused to whoever read an older one', async () => {
      const { first, second } = await ways()
      await first.journal.reserve(run(1))
      const saved = await first.journal.save({ ...run(1), progress: 0.5 })
      expect(saved).toEqual({ ...run(1), progress: 0.5, version: run(1).version + 1 })
      expect(await second.journal.save({ ...run(1), progress: 0.1 })).toBeNull()
      expect(await second.journal.find(instance, idOf(1))).toEqual(saved)
    })

    it('of many that save at the same time exactly one is heard', async () => {
      const { first, second } = await ways()
      await first.journal.reserve(run(1))
      const writers = Array.from({ length: 10 }, (_, i) => (i % 2 === 0 ? first : second))
      const saved = await Promise.all(writers.map((w, i) => w.journal.save({ ...run(1), hop: i })))
      expect(saved.filter((s) => s !== null)).toHaveLength(1)
    })

    it('a run that was never reserved cannot be saved', async () => {
      const { first } = await ways()
      expect(await first.journal.save(run(1))).toBeNull()
      expect(await first.journal.list(10)).toEqual([])
    })

    it('what was given away is a copy', async () => {
      const { first } = await ways()
      await first.journal.reserve(run(1))
      const taken = await first.journal.find(instance, idOf(1))
      taken?.undos.push('dropClone')
      expect(await first.journal.find(instance, idOf(1))).toEqual(run(1))
    })

    it('everything is there after it was opened again', async () => {
      const { first, reopened } = await ways()
      await first.journal.reserve(run(1))
      await first.journal.save({ ...run(1), progress: 0.5 })
      await first.journal.park({ id: 'p', atMs: 5, code: 'BAD_MESSAGE', words: 'why', body: 'what' })
      await first.leases.take('k', 'h', 0, 10)
      const again = await reopened()
      expect(await again.journal.find(instance, idOf(1))).toMatchObject({ progress: 0.5 })
      expect(await again.journal.listParked(10)).toHaveLength(1)
      expect(await again.leases.find('k')).toMatchObject({ holder: 'h', epoch: 1 })
    })
  })

  describe(`${name}: its questions`, () => {
    it('the open runs of an instance', async () => {
      const { first } = await ways()
      await add(first.journal, run(1), ended(2), run(3, { instance: other }))
      expect(idsOf(await first.journal.openOf(instance))).toEqual([idOf(1)])
    })

    it('the open runs that were due before a moment, oldest first, so many', async () => {
      const { first } = await ways()
      const due = (n: number, dueAtMs: number) => ({ ...run(n), dueAtMs })
      await add(first.journal, due(1, 300), due(2, 100), due(3, 200), due(4, 900), { ...ended(5), dueAtMs: 50 })
      expect(idsOf(await first.journal.overdue(300, 10))).toEqual([idOf(2), idOf(3)])
      expect(idsOf(await first.journal.overdue(1_000, 2))).toEqual([idOf(2), idOf(3)])
    })

    it('a run that was saved is asked for by what it is now', async () => {
      const { first } = await ways()
      await add(first.journal, { ...run(1), dueAtMs: 100 })
      const later = await first.journal.save({ ...run(1), dueAtMs: 500 })
      expect(await first.journal.overdue(300, 10)).toEqual([])
      await first.journal.save({ ...(later ?? run(1)), outcome: 'rejected', endedAtMs: 600 })
      expect(await first.journal.overdue(1_000, 10)).toEqual([])
      expect(await first.journal.openOf(instance)).toEqual([])
    })

    it('the runs that ended before a moment and have undos noted still, oldest first, so many', async () => {
      const { first } = await ways()
      const noted = (n: number, outcome?: RunRecord['outcome']) => ({ ...ended(n, outcome), undos: ['thaw' as const] })
      await add(first.journal, noted(3), noted(2, 'rejected'), ended(4), noted(5, 'parked'), noted(7))
      await add(first.journal, { ...run(6), undos: ['thaw'] })
      expect(idsOf(await first.journal.unsettled(8, 10))).toEqual([idOf(2), idOf(3)])
      expect(idsOf(await first.journal.unsettled(8, 1))).toEqual([idOf(2)])
      await first.journal.save({ ...noted(2, 'rejected'), undos: [] })
      expect(idsOf(await first.journal.unsettled(8, 10))).toEqual([idOf(3)])
    })

    it('all runs, newest first, so many', async () => {
      const { first } = await ways()
      await add(first.journal, run(2), run(1), ended(3))
      expect(idsOf(await first.journal.list(10))).toEqual([idOf(3), idOf(2), idOf(1)])
      expect(idsOf(await first.journal.list(1))).toEqual([idOf(3)])
    })

    it("a run by its own id or by its image's", async () => {
      const { first } = await ways()
      await add(first.journal, run(1), run(2))
      expect((await first.journal.byRunOrImage(idOf(1)))?.wish.run).toBe(idOf(1))
      expect((await first.journal.byRunOrImage(run(2).wish.image))?.wish.run).toBe(idOf(2))
      expect(await first.journal.byRunOrImage(idOf(9))).toBeNull()
    })

    it('how many an instance or a project has, rejected ones not counted since a moment', async () => {
      const { first } = await ways()
      await add(first.journal, run(1), ended(2), ended(3, 'rejected'), run(4, { instance: other }))
      await add(first.journal, run(5, { instance: other, project: 'another' }))
      expect(await first.journal.countOf({ instance }, 0)).toEqual({ open: 1, since: 2 })
      expect(await first.journal.countOf({ instance }, 2)).toEqual({ open: 1, since: 1 })
      expect(await first.journal.countOf({ project }, 0)).toEqual({ open: 2, since: 3 })
    })

    it('how many stand at each step, with the oldest, and how many ended how', async () => {
      const { first } = await ways()
      await add(first.journal, run(1), run(2), ended(3), ended(4, 'rejected'))
      const counts = await first.journal.counts()
      expect(counts).toHaveLength(3)
      expect(counts).toEqual(
        expect.arrayContaining([
          { step: 'quiesce', outcome: null, runs: 2, oldestMs: 1 },
          { step: null, outcome: 'active', runs: 1, oldestMs: expect.any(Number) },
          { step: null, outcome: 'rejected', runs: 1, oldestMs: expect.any(Number) },
        ]),
      )
    })

    it('a tag has the next epoch when its run has ended, and keeps it while the run goes on or is parked', async () => {
      const { first } = await ways()
      const epoch = () => first.journal.tagEpoch(instance, 'snapshot')
      expect(await epoch()).toBe(1)
      await add(first.journal, run(1))
      expect(await epoch()).toBe(1)
      await add(first.journal, ended(2, 'parked'))
      expect(await epoch()).toBe(1)
      await add(first.journal, ended(3, 'rejected'), ended(4))
      expect(await epoch()).toBe(3)
      expect(await first.journal.tagEpoch(instance, 'snapshot:other')).toBe(1)
      expect(await first.journal.tagEpoch(other, 'snapshot')).toBe(1)
    })

    it('what is parked twice is there once, newest first', async () => {
      const { first, second } = await ways()
      const entry = (id: string, atMs: number) => ({ id, atMs, code: 'UNKNOWN' as const, words: 'w', body: 'b' })
      await first.journal.park(entry('a', 1))
      await second.journal.park({ ...entry('a', 9), words: 'again' })
      await first.journal.park(entry('b', 2))
      expect(await first.journal.listParked(10)).toEqual([entry('b', 2), entry('a', 1)])
      expect(await first.journal.listParked(1)).toEqual([entry('b', 2)])
    })

    it('what is parked is found by its id until it is let go, once', async () => {
      const { first, second } = await ways()
      const entry = (id: string) => ({ id, atMs: 1, code: 'BAD_MESSAGE' as const, words: 'w', body: 'b' })
      await first.journal.park(entry('a/b'))
      await first.journal.park(entry('other'))
      expect(await second.journal.findParked('a/b')).toEqual(entry('a/b'))
      expect(await first.journal.unpark('a/b')).toBe(true)
      expect(await second.journal.unpark('a/b')).toBe(false)
      expect(await second.journal.findParked('a/b')).toBeNull()
      expect(await second.journal.listParked(10)).toEqual([entry('other')])
    })
  })

  describe(`${name}: the leases`, () => {
    it('one holder at a time, until it expires; every taker has a new epoch', async () => {
      const { first, second } = await ways()
      expect(await first.leases.take('k', 'a', 0, 100)).toMatchObject({ holder: 'a', epoch: 1, untilMs: 100 })
      expect(await second.leases.take('k', 'b', 99, 200)).toBeNull()
      expect(await second.leases.take('k', 'b', 100, 200)).toMatchObject({ holder: 'b', epoch: 2, untilMs: 200 })
      expect(await first.leases.take('other', 'a', 0, 100)).toMatchObject({ holder: 'a', epoch: 1 })
    })

    it('the holder takes it again and keeps its epoch', async () => {
      const { first } = await ways()
      await first.leases.take('k', 'a', 0, 100)
      expect(await first.leases.take('k', 'a', 50, 300)).toMatchObject({ holder: 'a', epoch: 1, untilMs: 300 })
    })

    it('of two that take at the same time one has it', async () => {
      const { first, second } = await ways()
      const both = await Promise.all([first.leases.take('k', 'a', 0, 100), second.leases.take('k', 'b', 0, 100)])
      expect(both.filter((l) => l !== null)).toHaveLength(1)
    })

    it('one that was given back is free, and the epoch does not go back', async () => {
      const { first, second } = await ways()
      const lease = await first.leases.take('k', 'a', 0, 100)
      await first.leases.save({ ...(lease as Lease), holder: null })
      expect(await second.leases.take('k', 'b', 1, 100)).toMatchObject({ holder: 'b', epoch: 2 })
    })

    it('a save is refused to whoever read an older version', async () => {
      const { first, second } = await ways()
      const lease = (await first.leases.take('k', 'a', 0, 100)) as Lease
      expect(await first.leases.save({ ...lease, untilMs: 200 })).toMatchObject({ version: lease.version + 1 })
      expect(await second.leases.save({ ...lease, holder: null })).toBeNull()
      expect(await second.leases.find('k')).toMatchObject({ holder: 'a', untilMs: 200 })
    })

    it('those with a freeze on them are found, and no others', async () => {
      const { first, second } = await ways()
      const lease = (await first.leases.take('k', 'a', 0, 100)) as Lease
      await first.leases.take('other', 'a', 0, 100)
      expect(await second.leases.frozen()).toEqual([])
      const frozen = await first.leases.save({
        ...lease,
        freeze: { askedAtMs: 5, isConfirmed: false, host: 'compute-01' },
      })
      expect(await second.leases.frozen()).toEqual([frozen])
      await first.leases.save({ ...(frozen as Lease), freeze: null })
      expect(await second.leases.frozen()).toEqual([])
    })
  })
}

const idOf = (n: number) => `00000000-0000-4000-8000-${String(n).padStart(12, '0')}`
const idsOf = (records: RunRecord[]) => records.map((r) => r.wish.run)

/** Made at moment `n`. */
function run(n: number, of: { instance?: string; project?: string } = {}): RunRecord {
  const wish: Wish = {
    run: idOf(n),
    instance,
    project,
    image: `00000000-0000-4000-9000-${String(n).padStart(12, '0')}`,
    imageName: 'before upgrade',
    trigger: { is: 'tag', tag: 'snapshot', epoch: 1 },
    quiesce: 'auto',
    rule: 'tag',
    requestedAtMs: n,
    ...of,
  }
  return {
    wish,
    version: 0,
    createdAtMs: n,
    updatedAtMs: n,
    hop: 1,
    message: { v: messageVersion, step: 'quiesce', wish, hop: 1, tries: 0, sinceMs: n },
    dueAtMs: n,
    claim: null,
    lost: 0,
    undos: [],
    timeline: [],
    progress: null,
    outcome: null,
    code: null,
    reason: null,
    endedAtMs: null,
  }
}

function ended(n: number, outcome: RunRecord['outcome'] = 'active'): RunRecord {
  return { ...run(n), outcome, endedAtMs: n + 1 }
}

async function add(journal: Journal, ...records: RunRecord[]): Promise<void> {
  for (const record of records) await journal.reserve(record)
}
