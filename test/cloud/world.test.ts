import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, describe, expect, it } from 'vitest'
import type { Cloud } from '../../infra/cloud/main.ts'
import { capturedServers, demoServers, projects } from '../../infra/cloud/world.ts'
import { agentOf, call, client, type ImagesBody, until } from './openstack-client.ts'
import { openScene } from './openstack-scene.ts'

interface World {
  clusters: Record<'a' | 'b', { pools: Record<'vms' | 'images', Rbd[]> }>
}
interface Rbd {
  name: string
  parent: { pool: string } | null
  features: string[]
  snaps: object[]
}

const scene = await openScene()
const { home, cloud, service } = scene
afterAll(() => scene.close())

describe('the world', () => {
  it('has the servers of the captured notifications with their queued images, and no others', async () => {
    const image = (await service.image('059fd825-a0be-4af9-a1e9-3fcf3b1ac0cb')).json
    expect(image).toMatchObject({ status: 'queued', owner: projects.tenant, instance_uuid: capturedServers.orphan })
    expect(image.created_at).toBe('2026-11-23T01:31:24Z')
    const queued = await service.glance<ImagesBody>(
      'GET',
      `/images?instance_uuid=${capturedServers.clone}&status=queued`,
    )
    expect(queued.json.images).toHaveLength(6)
    expect((await service.nova('GET', '/servers/09ab4bca-ad45-42b3-86a3-f60c015ff50e')).status).toBe(404)
  })

  it('is told whole by the control port', async () => {
    const world = (await call<World>('GET', `${cloud.urls.control}/world`)).json
    const disk = (name: string) => world.clusters.a.pools.vms.find((image) => image.name === name)
    expect(disk(`${demoServers.clone}_disk`)).toMatchObject({ sizeBytes: 10 * 2 ** 30, watchers: 1, opens: true })
    expect(disk(`${demoServers.clone}_disk`)?.parent?.pool).toBe('images')
    expect(disk(`${demoServers.noLayering}_disk`)?.features).not.toContain('layering')
    expect(world.clusters.b.pools.vms).toMatchObject([{ name: `${demoServers.otherCluster}_disk`, parent: null }])
  })

  it('survives kill -9: tokens, images, frozen guests, and Nova forgets the snapshot it was at', async () => {
    const dataDir = join(home, 'killed')
    const run = async () => {
      const program = join(import.meta.dirname, '../../infra/cloud/main.ts')
      const env = { ...process.env, RBDSNAP_CLOUD_DATA_DIR: dataDir, RBDSNAP_CLOUD_PAXOS_PROPOSE_INTERVAL_MS: '20' }
      const child = spawn(process.execPath, [program], { env, stdio: ['ignore', 'pipe', 'inherit'] })
      await once(child.stdout, 'data')
      const { urls } = JSON.parse(readFileSync(join(dataDir, 'cloud.json'), 'utf8')) as Pick<Cloud, 'urls'>
      return { child, urls }
    }
    const before = await run()
    const one = await client(before.urls, 'tenant', 'tenant')
    await call('PUT', `${before.urls.control}/nova`, { body: { waitsMs: { flatten: 60_000 } } })
    const body = { createImage: { name: 'lost' } }
    const made = await one.nova('POST', `/servers/${capturedServers.cloneTooFull}/action`, { body })
    const path = `/servers/${capturedServers.cloneTooFull}`
    const taskState = async () => (await one.nova('GET', path)).json.server['OS-EXT-STS:task_state']
    await until('the work', async () => (await taskState()) === 'image_uploading')
    const agent = await agentOf(join(dataDir, 'guests', `${capturedServers.clone}.sock`))
    await agent.ask('guest-fsfreeze-freeze')
    await sleep(100)
    before.child.kill('SIGKILL')
    await once(before.child, 'exit')

    const after = await run()
    try {
      expect(after.urls).toEqual(before.urls)
      expect(await taskState()).toBeNull()
      expect((await one.image(made.json.image_id)).json.status).toBe('queued')
      const guest = (await call('GET', `${after.urls.control}/guests/${capturedServers.clone}`)).json
      expect(guest).toMatchObject({ isFrozen: true, freezes: [{ thawedAtMs: null }] })
      const again = await agentOf(join(dataDir, 'guests', `${capturedServers.clone}.sock`))
      expect(await again.ask('guest-fsfreeze-thaw')).toBe('{"return":1}')
      await again.close()
      const world = (await call<World>('GET', `${after.urls.control}/world`)).json
      const disk = world.clusters.a.pools.vms.find((image) => image.name.startsWith(capturedServers.cloneTooFull))
      expect(disk?.snaps).toHaveLength(1)
    } finally {
      after.child.kill('SIGTERM')
      await once(after.child, 'exit')
    }
  }, 20_000)
})
