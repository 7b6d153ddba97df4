import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe } from 'vitest'
import type { Cloud } from '../../infra/cloud/main.ts'
import { commandFactsWorld, commandWorld, dashboardFactsWorld, readerWorld } from './embedded-ceph.ts'
import { openTestCloud } from './embedded-cloud.ts'
import { describeFacts } from './facts.contract.ts'
import { describeReader } from './reader.contract.ts'
import { describeVolumes, itTellsAFullPool, itTellsOfASnapshotBelowItsClone } from './volumes.contract.ts'

// a process a call: compiled once, each starts in two thirds of the time
process.env['NODE_COMPILE_CACHE'] ??= join(tmpdir(), 'rbdsnap-compiled')

let cloud: Cloud
let close: () => Promise<void>
beforeAll(async () => {
  ;({ cloud, close } = await openTestCloud(1))
}, 30_000)
afterAll(() => close())

describeVolumes('the command rbd', async () => commandWorld(cloud))
describe('the command rbd beside the command ceph', () => itTellsAFullPool(() => commandWorld(cloud, { ceph: true })))
describe('the command rbd, clone format 2', () => {
  let format2: Awaited<ReturnType<typeof openTestCloud>>
  beforeAll(async () => {
    format2 = await openTestCloud(2)
  }, 30_000)
  afterAll(() => format2.close())
  itTellsOfASnapshotBelowItsClone(async () => commandWorld(format2.cloud))
})
describeFacts('the dashboard', async () => dashboardFactsWorld(cloud))
describeFacts('the commands rbd and ceph', async () => commandFactsWorld(cloud, { ceph: true }))
describeFacts('the command rbd alone', async () => commandFactsWorld(cloud, { ceph: false }))
describeReader('rbd export', async () => readerWorld(cloud))
