import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import type { Lab } from '../../infra/lab/lab.ts'
import { readBusUrl } from '../../shared/adapters/bus-url.ts'
import { guestLibvirt } from '../../shared/adapters/guest-libvirt.ts'
import { guestNovaPause } from '../../shared/adapters/guest-nova-pause.ts'
import { guestNovaRpc } from '../../shared/adapters/guest-nova-rpc.ts'
import { type Identity, keystone } from '../../shared/adapters/keystone.ts'
import { novaRpc, type NovaRpcOptions } from '../../shared/adapters/nova-rpc-bus.ts'
import { nova } from '../../shared/adapters/nova.ts'
import type { Guest } from '../../shared/ports/guest.ts'
import type { GuestWorld } from '../contract/guest.contract.ts'
import { guestsOf } from './support/guests.ts'
import { signIn } from './support/rest.ts'
import { serversOf } from './support/servers.ts'
import { waitFor } from './support/wait.ts'

/** Longer than any answer of a busy lab, shorter than a test's patience. */
const timeoutMs = 5_000

export type GuestScene = ReturnType<typeof guestScene>

/** Guests that really freeze, booted once each and shared by the worlds; what they say of themselves comes from their hypervisor. */
export function guestScene(lab: Lab) {
  const servers = serversOf(lab, signIn(lab, lab.people.tenant))
  const guests = guestsOf(lab)
  const booted = new Map<'on' | 'none' | 'stopped', Promise<string>>()
  const virsh = async (...args: string[]) =>
    (await promisify(execFile)('virsh', ['-c', lab.libvirt.uri, ...args])).stdout

  const answers = (instance: string) =>
    waitFor(
      `the agent of ${instance} answers`,
      () => guests.freezeState(instance),
      (state) => state !== null,
    )

  async function boot(agent: 'on' | 'none' | 'stopped'): Promise<string> {
    const instance = await servers.boot(`guest-${agent}`, agent === 'none' ? lab.images.plain : lab.images.agent)
    if (agent === 'none') return instance
    await answers(instance)
    if (agent === 'stopped') await inGuest(instance, 'killall -STOP qemu-ga')
    return instance
  }

  /** A moment later, so that the agent can still answer that it took this. */
  async function inGuest(instance: string, command: string): Promise<void> {
    const shell = { path: '/bin/sh', arg: ['-c', `(sleep 0.5; ${command}) >/dev/null 2>&1 &`] }
    await virsh('qemu-agent-command', instance, JSON.stringify({ execute: 'guest-exec', arguments: shell }))
    await new Promise((done) => setTimeout(done, 1_500))
  }

  return {
    lab,
    servers,
    guests,
    inGuest,
    async pause(instance: string, isPaused: boolean) {
      await virsh(isPaused ? 'suspend' : 'resume', instance)
    },
    /** The one that runs is handed out running and thawed. */
    async server(agent: 'on' | 'none' | 'stopped'): Promise<string> {
      const found = booted.get(agent) ?? boot(agent)
      booted.set(agent, found)
      const instance = await found
      if (agent !== 'on') return instance
      const { status } = await servers.untilIdle(instance)
      if (status === 'SHUTOFF') await servers.act(instance, { 'os-start': null })
      if (status === 'PAUSED') await servers.act(instance, { unpause: null })
      await servers.untilStatus(instance, 'ACTIVE')
      await answers(instance)
      await guests.thaw(instance)
      return instance
    },
    async close(): Promise<void> {
      await Promise.all([...booted.values()].map(async (instance) => servers.delete(await instance)))
    },
  }
}

export function identityOf(lab: Lab): Identity {
  const { name, password, project } = lab.people.service
  return keystone(
    { authUrl: lab.authUrl, username: name, password, projectName: project, region: lab.region, interface: 'internal' },
    { nowMs: () => Date.now() },
  )
}

export function rpcGuest(lab: Lab, more: Partial<NovaRpcOptions> = {}): Guest {
  const options = { bus: readBusUrl(lab.env['RBDSNAP_BUS_URL'] ?? lab.bus.url), exchange: 'nova', timeoutMs, ...more }
  return guestNovaRpc(novaRpc(options), nova(identityOf(lab)))
}

export function libvirtGuest(lab: Lab): Guest {
  return guestLibvirt({ uri: lab.libvirt.uri, timeoutMs }, nova(identityOf(lab)))
}

export function pauseGuest(lab: Lab): Guest {
  const identity = identityOf(lab)
  return guestNovaPause(identity, nova(identity), { timeoutMs: 30_000 })
}

/** Frozen by the agent in the guest. */
export function agentWorld(scene: GuestScene, guest: Guest): GuestWorld {
  return {
    guest,
    makeServer: scene.server,
    isFrozen: async (instance) => (await scene.guests.freezeState(instance)) === 'frozen',
    async stop(instance) {
      await scene.servers.act(instance, { 'os-stop': null })
      // a guest whose file systems stand still may not shut itself down: Nova waits for that, 60 s ([DEFAULT] shutdown_timeout)
      await scene.servers.untilStatus(instance, 'SHUTOFF', 120_000)
    },
    pause: scene.pause,
    close: async () => undefined,
  }
}

/** Stopped by the hypervisor. */
export function pauseWorld(scene: GuestScene): GuestWorld {
  return {
    guest: pauseGuest(scene.lab),
    makeServer: async () => scene.server('on'),
    isFrozen: async (instance) => (await scene.guests.power(instance)) === 'paused',
    needsNoAgent: true,
    async heldByAnother(instance) {
      await scene.servers.act(instance, { pause: null })
      await scene.servers.untilStatus(instance, 'PAUSED')
    },
    close: async () => undefined,
  }
}
