import { readLab } from '../../infra/lab/lab.ts'
import { describeVolumes } from '../contract/volumes.contract.ts'
import { openCephLab } from './lab-ceph.ts'
import { dashboardWorld } from './lab-ceph-worlds.ts'

const lab = readLab()
const withinMs = 300_000
const byTask = { ceph: true } as const

describeVolumes('a real dashboard, clone format 2', async () => dashboardWorld(await openCephLab(lab, 2)), withinMs)
describeVolumes(
  'a real dashboard, clone format 1, flattens as tasks',
  async () => dashboardWorld(await openCephLab(lab, 1), byTask),
  withinMs,
)
