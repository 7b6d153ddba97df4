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

// What the monitors take their time for, and this suite waits for again and again: a round for each of hundreds of snapshots (1 s), as
// docs/operate.md has it, and a manager that died (30 s). The stories meet both as Ceph has them.
const quicker = { paxos_propose_interval: '0.1', mon_mgr_beacon_grace: '10' }
beforeAll(async () => {
  for (const [name, value] of Object.entries(quicker)) await ceph('config', 'set', 'mon', name, value)
})
afterAll(async () => {
  for (const name of Object.keys(quicker)) await ceph('config', 'rm', 'mon', name)
})

describeVolumes('a real dashboard, clone format 2', async () => dashboardWorld(await openCephLab(lab, 2)), withinMs)
describeVolumes(
  'a real dashboard, clone format 1, flattens as tasks',
  async () => dashboardWorld(await openCephLab(lab, 1), byTask),
  withinMs,
)
