import { readLab } from '../../infra/lab/lab.ts'
import { describeFacts } from '../contract/facts.contract.ts'
import { openCephLab } from './lab-ceph.ts'
import { commandFactsWorld, dashboardFactsWorld } from './lab-ceph-worlds.ts'

const lab = readLab()
const withinMs = 180_000

describeFacts('a real dashboard', async () => dashboardFactsWorld(await openCephLab(lab, 2)), withinMs)
describeFacts('the real commands, clone format 2', async () => commandFactsWorld(await openCephLab(lab, 2)), withinMs)
describeFacts('the real commands, clone format 1', async () => commandFactsWorld(await openCephLab(lab, 1)), withinMs)
