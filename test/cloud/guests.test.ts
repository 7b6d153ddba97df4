import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, describe, expect, it } from 'vitest'
import { demoServers } from '../../infra/cloud/world.ts'
import { agentOf, call, until } from './openstack-client.ts'
import { openScene } from './openstack-scene.ts'

const scene = await openScene()
const { home, cloud, addServer } = scene
afterAll(() => scene.close())

describe('a guest', () => {
  const socketOf = (id: string) => join(home, 'guests', `${id}.sock`)
  const syncBytes = (id: number) =>
    Buffer.concat([
      Buffer.from([0xff]),
      Buffer.from(`{"execute":"guest-sync-delimited","arguments":{"id":${String(id)}}}\n`),
    ])

  it('freezes and thaws through its agent, and its disk shows it', async () => {
    const { id, disk } = await addServer()
    const agent = await agentOf(socketOf(id))
    agent.write('{"execute": "half')
    agent.write(syncBytes(77))
    await until('the sync', () => agent.lines.some((line) => line === '\xff{"return":77}'))
    expect(await agent.ask('guest-ping')).toBe('{"return":{}}')
    expect(await agent.ask('guest-info')).toContain('"version":"7.2.0"')
    expect(await agent.ask('guest-fsfreeze-status')).toBe('{"return":"thawed"}')
    expect(await agent.ask('guest-fsfreeze-freeze')).toBe('{"return":1}')
    await cloud.clusters.a.snapCreate('vms', disk.image, 'while-frozen')
    expect(await agent.ask('guest-fsfreeze-status')).toBe('{"return":"frozen"}')
    expect(await agent.ask('guest-fsfreeze-freeze')).toContain('has been disabled: the agent is in frozen state')
    expect(await agent.ask('guest-fsfreeze-thaw')).toBe('{"return":1}')
    expect(await agent.ask('guest-fsfreeze-thaw')).toBe('{"return":0}')
    expect(await agent.ask('guest-shutdown')).toContain('has not been found')
    await agent.close()
    await cloud.clusters.a.snapCreate('vms', disk.image, 'after')
    const guest = (await call('GET', `${cloud.urls.control}/guests/${id}`)).json
    expect(guest).toMatchObject({
      isFrozen: false,
      refusals: 1,
      freezes: [{ thawedAtMs: expect.any(Number) as unknown }],
    })
    const evidence = (snap: string) =>
      call('GET', `${cloud.urls.control}/evidence?pool=vms&image=${disk.image}&snap=${snap}`)
    expect((await evidence('while-frozen')).json).toMatchObject({ isFrozen: true, isTorn: false })
    expect((await evidence('after')).json).toMatchObject({ isFrozen: false })
  })

  it('holds its heartbeats back while frozen and writes them after', async () => {
    const { id, disk } = await addServer()
    const agent = await agentOf(socketOf(id))
    await agent.ask('guest-fsfreeze-freeze')
    const frozen = cloud.clusters.a.fingerprint('vms', disk.image, null)
    await until('a heartbeat that waits', () => (cloud.guests.find(id)?.queued ?? 0) > 0)
    expect(cloud.clusters.a.fingerprint('vms', disk.image, null)).toBe(frozen)
    await agent.ask('guest-fsfreeze-thaw')
    expect(cloud.clusters.a.fingerprint('vms', disk.image, null)).not.toBe(frozen)
    await agent.close()
  })

  it('hears one client at a time', async () => {
    const { id } = await addServer()
    const first = await agentOf(socketOf(id))
    await first.ask('guest-ping')
    const second = await agentOf(socketOf(id))
    second.write('{"execute":"guest-ping"}\n')
    await sleep(50)
    expect(second.lines).toEqual([])
    await first.close()
    await until('the answer', () => second.lines.length === 1)
    await second.close()
  })

  it('may have no agent, a silent one, or one that freezes and does not answer', async () => {
    expect(existsSync(socketOf(demoServers.require))).toBe(false)
    const silent = await agentOf(socketOf(demoServers.prefer))
    await expect(silent.ask('guest-ping')).rejects.toThrow('in vain')
    await silent.close()
    const { id } = await addServer({ agent: 'hanging' })
    const hanging = await agentOf(socketOf(id))
    expect(await hanging.ask('guest-ping')).toBe('{"return":{}}')
    await expect(hanging.ask('guest-fsfreeze-freeze')).rejects.toThrow('in vain')
    expect(cloud.guests.find(id)?.isFrozen).toBe(true)
    await hanging.close()
    const next = await agentOf(socketOf(id))
    expect(await next.ask('guest-fsfreeze-thaw')).toBe('{"return":1}')
    await next.close()
  })
})
