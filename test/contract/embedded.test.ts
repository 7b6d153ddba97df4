import { afterAll, beforeAll } from 'vitest'
import type { Cloud } from '../../infra/cloud/main.ts'
import { describeCompute } from './compute.contract.ts'
import { dashboardWorld } from './embedded-ceph.ts'
import { openTestCloud } from './embedded-cloud.ts'
import { computeWorld, guestWorld, identityWorld, imagesWorld, pausedWorld } from './embedded-openstack.ts'
import { describeGuest } from './guest.contract.ts'
import { describeIdentity } from './identity.contract.ts'
import { describeImages } from './images.contract.ts'
import { describeVolumes } from './volumes.contract.ts'

let cloud: Cloud
let close: () => Promise<void>
beforeAll(async () => {
  ;({ cloud, close } = await openTestCloud(1))
}, 30_000)
afterAll(() => close())

describeVolumes('the dashboard', async () => dashboardWorld(cloud))
describeVolumes('the dashboard, clone format 2, flattens as tasks', async () => {
  const other = await openTestCloud(2)
  return { ...dashboardWorld(other.cloud, { ceph: true }), close: other.close }
})
describeImages('Glance', async () => imagesWorld(cloud))
describeCompute('Nova', async () => computeWorld(cloud))
describeGuest("qemu's guest agent", async () => guestWorld(cloud))
describeGuest("Nova's pause", async () => pausedWorld(cloud))

describeIdentity('Keystone', () => identityWorld(cloud))
