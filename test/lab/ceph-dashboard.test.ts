import { afterAll, beforeAll } from 'vitest'
import { readLab } from '../../infra/lab/lab.ts'
import { describeVolumes } from '../contract/volumes.contract.ts'
import { openCephLab } from './lab-ceph.ts'
import { dashboardWorld } from './lab-ceph-worlds.ts'
import { cephOf } from './support/ceph.ts'

const lab = readLab()
const withinMs = 300_000
const byTask = { ceph: true } as const
const { ceph } = cephOf(lab)

// Hundreds of snapshots are made and removed, and each waits for a round of the monitors, of a second. As docs/operate.md has it.
beforeAll(() => ceph('config', 'set', 'mon', 'paxos_propose_interval', '0.1'))
afterAll(() => ceph('config', 'rm', 'mon', 'paxos_propose_interval'))

describeVolumes('a real dashboard, clone format 2', async () => dashboardWorld(await openCephLab(lab, 2)), withinMs)
describeVolumes(
  'a real dashboard, clone format 1, flattens as tasks',
  async () => dashboardWorld(await openCephLab(lab, 1), byTask),
  withinMs,
)
