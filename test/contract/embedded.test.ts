import { commandWorld, dashboardWorld } from './embedded-ceph.ts'
import { describeVolumes } from './volumes.contract.ts'

describeVolumes('the dashboard, clone format 1', async () => (await dashboardWorld(1)).world)
describeVolumes('the dashboard, clone format 2', async () => (await dashboardWorld(2)).world)
describeVolumes('the command rbd', async () => (await commandWorld(1)).world)
