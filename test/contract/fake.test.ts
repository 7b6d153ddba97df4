import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { visibilityMs } from '../../shared/drive.ts'
import { sqlite } from '../../shared/adapters/sqlite.ts'
import { fakeClock } from '../fakes/clock.ts'
import { fakeJournal } from '../fakes/journal.ts'
import { fakeQueue } from '../fakes/queue.ts'
import { describeCompute } from './compute.contract.ts'
import { fakeComputeWorld, fakeGuestWorld, fakeImagesWorld, fakeVolumesWorld } from './fake-worlds.ts'
import { describeGuest } from './guest.contract.ts'
import { describeImages } from './images.contract.ts'
import { describeJournal } from './journal.contract.ts'
import { describeQueue } from './queue.contract.ts'
import { describeVolumes } from './volumes.contract.ts'

/** The fakes keep the same contracts as what they stand for; and the journal's, as it is kept in SQLite. */
describeVolumes('in memory', fakeVolumesWorld)
describeImages('in memory', fakeImagesWorld)
describeCompute('in memory', fakeComputeWorld)
describeGuest('in memory', fakeGuestWorld)

describeJournal('the journal in memory', async () => {
  const store = fakeJournal()
  return { first: store, second: store, reopened: async () => store, close: async () => undefined }
})

describeJournal('the journal in SQLite', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'rbdsnap-journal-'))
  const path = join(folder, 'journal.sqlite')
  const opened = [sqlite(path), sqlite(path)]
  const [first, second] = opened as [ReturnType<typeof sqlite>, ReturnType<typeof sqlite>]
  return {
    first,
    second,
    reopened: async () => {
      for (const one of opened.splice(0)) one.close()
      opened.push(sqlite(path))
      return opened[0] as ReturnType<typeof sqlite>
    },
    close: async () => {
      for (const one of opened) one.close()
      rmSync(folder, { recursive: true })
    },
  }
})

describeQueue('the queue in memory', async () => {
  const clock = fakeClock()
  const queue = fakeQueue(clock)
  return {
    queue: queue.port,
    hiddenMs: visibilityMs('thaw'),
    pass: async (ms) => clock.advanceTo(clock.nowMs() + ms),
    close: async () => undefined,
    receive: async (step) =>
      queue.nextOf(step, 10).flatMap((held) => {
        const message = queue.take(held)
        return message ? [{ message, acknowledge: async () => queue.acknowledge(held) }] : []
      }),
  }
})
