import * as z from 'zod/mini'
import { Failure } from '../failures.ts'
import type { Compute, Server } from '../ports/compute.ts'
import type { Guest } from '../ports/guest.ts'
import { checkInstance, checkTime } from './guest-host.ts'
import { decode, refusal, type Service } from './http.ts'
import type { Identity } from './keystone.ts'
import { openstack } from './openstack.ts'
import { pause as wait } from './wait.ts'

const service: Service = { name: 'Nova', unreachable: 'NOVA_UNREACHABLE', refused: 'NOVA_REFUSED' }
const everyMs = 50

const actions = z.object({
  instanceActions: z.array(z.object({ action: z.string(), user_id: z.nullable(z.string()) })),
})

/**
 * Nova's pause and unpause. The processors stand still, nothing is flushed: nobody writes while the disk is snapshotted, and the
 * snapshot is what a power cut would leave. It needs no agent, and proves no more than `crash`.
 *
 * Nobody is let go whom somebody else has paused: only a server whose last pause was by our own user.
 */
export function guestNovaPause(
  identity: Identity,
  compute: Pick<Compute, 'find'>,
  options: { timeoutMs: number },
): Guest {
  const send = openstack(identity, service, (signal) => identity.endpoint('compute', signal))

  /** false: not in this state of the server, or while Nova is at some other work on it */
  async function act(action: 'pause' | 'unpause', instance: string, signal: AbortSignal): Promise<boolean> {
    const answer = await send({
      what: `${action} of instance ${instance}`,
      method: 'POST',
      path: `/servers/${instance}/action`,
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ [action]: null }),
      timeoutMs: options.timeoutMs,
      signal,
    })
    if (answer.status === 202) return true
    if (answer.status === 409 || answer.status === 404) return false
    throw refusal(service, `${action} of instance ${instance}`, answer)
  }

  async function isOurs(instance: string, signal: AbortSignal): Promise<boolean> {
    const what = `actions of instance ${instance}`
    const answer = await send({ what, method: 'GET', path: `/servers/${instance}/os-instance-actions`, signal })
    if (answer.status === 404) return false
    if (answer.status !== 200) throw refusal(service, what, answer)
    // the newest come first
    const pause = decode(actions, service, what, answer).instanceActions.find(({ action }) => action === 'pause')
    return pause?.user_id === (await identity.user(signal))
  }

  /** pause and unpause are accepted first and done later */
  async function settled(instance: string, signal: AbortSignal): Promise<Server | null> {
    const what = `instance ${instance}`
    for (const ends = Date.now() + options.timeoutMs; ;) {
      const server = await compute.find(instance, signal)
      if (server?.taskState !== 'pausing' && server?.taskState !== 'unpausing') return server
      if (Date.now() > ends) throw new Failure('GUEST_UNREACHABLE', `${what}: Nova is still ${server.taskState}`)
      await wait(everyMs, signal, what)
    }
  }

  return {
    proves: 'crash',

    async reach({ instance }, signal) {
      checkInstance(instance)
      const server = await compute.find(instance, signal)
      if (server?.vmState === 'active' && server.taskState === null) return { instance, host: null }
      const words = server ? `is ${server.vmState}, ${server.taskState ?? 'no task'}` : 'is gone'
      throw new Failure('QUIESCE_UNAVAILABLE', `instance ${instance} ${words}: Nova does not pause it`)
    },

    async freeze({ instance }, untilMs, signal) {
      checkInstance(instance)
      checkTime(instance, untilMs)
      const isAccepted = await act('pause', instance, signal)
      const server = await settled(instance, signal)
      if (server?.vmState === 'paused' && (await isOurs(instance, signal))) return
      const why = isAccepted ? 'is not paused, though Nova accepted it' : 'cannot be paused now'
      throw new Failure(isAccepted ? 'GUEST_UNREACHABLE' : 'QUIESCE_UNAVAILABLE', `instance ${instance} ${why}`)
    },

    async hasHeld({ instance }, _untilMs, signal) {
      checkInstance(instance)
      const server = await compute.find(instance, signal)
      return server?.vmState === 'paused' && (await isOurs(instance, signal))
    },

    async thaw({ instance }, signal) {
      checkInstance(instance)
      const before = await settled(instance, signal)
      if (!before) return 'unheard'
      if (before.vmState !== 'paused' || !(await isOurs(instance, signal))) return 'thawed'
      await act('unpause', instance, signal)
      const after = await settled(instance, signal)
      if (after?.vmState !== 'paused' || !(await isOurs(instance, signal))) return 'thawed'
      throw new Failure('GUEST_UNREACHABLE', `instance ${instance} cannot be unpaused: ${after.taskState ?? 'paused'}`)
    },
  }
}
