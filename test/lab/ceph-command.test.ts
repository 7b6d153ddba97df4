import { describe } from 'vitest'
import { readLab } from '../../infra/lab/lab.ts'
import { describeReader } from '../contract/reader.contract.ts'
import { describeVolumes, itTellsOfASnapshotBelowItsClone } from '../contract/volumes.contract.ts'
import { openCephLab } from './lab-ceph.ts'
import { commandWorld, readerWorld } from './lab-ceph-worlds.ts'

const lab = readLab()
const withinMs = 300_000
const byTask = { ceph: true } as const

describeVolumes('the real command rbd, clone format 1', async () => commandWorld(await openCephLab(lab, 1)), withinMs)
describeVolumes(
  'the real command rbd, clone format 2, flattens as tasks',
  async () => {
    // Minutes of slow flattens: as tasks they are seen in ceph-dashboard.test.ts, as children of ours above.
    const { slowDown: _, ...world } = await commandWorld(await openCephLab(lab, 2), byTask)
    return world
  },
  withinMs,
)
describe('the real command rbd, clone format 2', () =>
  itTellsOfASnapshotBelowItsClone(async () => commandWorld(await openCephLab(lab, 2))))
describeReader('the real rbd export', async () => readerWorld(await openCephLab(lab, 2)), withinMs)
