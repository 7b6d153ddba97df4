import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll } from 'vitest'
import type { Cloud } from '../../infra/cloud/main.ts'
import { commandWorld, readerWorld } from './embedded-ceph.ts'
import { openTestCloud } from './embedded-cloud.ts'
import { describeReader } from './reader.contract.ts'
import { describeVolumes } from './volumes.contract.ts'

// a process a call: compiled once, each starts in two thirds of the time
process.env['NODE_COMPILE_CACHE'] ??= join(tmpdir(), 'rbdsnap-compiled')

let cloud: Cloud
let close: () => Promise<void>
beforeAll(async () => {
  ;({ cloud, close } = await openTestCloud(1))
}, 30_000)
afterAll(() => close())

describeVolumes('the command rbd', async () => commandWorld(cloud))
describeReader('rbd export', async () => readerWorld(cloud))
