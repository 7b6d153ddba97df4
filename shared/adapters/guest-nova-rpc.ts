import { Failure } from '../failures.ts'
import type { Compute } from '../ports/compute.ts'
import type { Guest, GuestAt } from '../ports/guest.ts'
import { onHost } from './guest-host.ts'
import { quote } from './words.ts'
import type { Call, Reply } from './nova-rpc.ts'
import type { NovaRpc } from './nova-rpc-bus.ts'

/** What nova-compute serves: 6 since Wallaby, with 5 beside it; 5 alone from Queens to Victoria (nova/compute/rpcapi.py). */
const versions = ['6.0', '5.0']

/**
 * Freezes and thaws through the nova-compute that has the instance, as Nova does for its own snapshots of volumes: no right on the
 * hypervisor is needed, and no way to it but the bus.
 *
 * Nova has no call for looking. What there is instead: `unquiesce_instance` changes nothing in a guest that is not frozen, and
 * so shows that all from the bus to the agent answers; and a frozen agent refuses `quiesce_instance` in so many words,
 * which a thawed one does not: the second freeze is the look at the first, and its success says that the first was lost.
 *
 * An agent that hangs must never be asked for a freeze: libvirt waits for it without a limit, and the freeze takes effect when
 * the agent goes on, minutes later (measured: Zed, libvirt 9.0). Hence `reach`. When it hangs in between, that freeze
 * holds libvirt's turn at the agent, so no thaw is answered before it is done: an answered thaw ends it.
 */
export function guestNovaRpc(rpc: NovaRpc, compute: Pick<Compute, 'find'>): Guest {
  const on = onHost(compute)
  let spoken = 0

  const ask = (method: Call['method'], at: GuestAt, signal: AbortSignal, untilMs?: number) =>
    on(at, signal, async (host) => {
      const reply = await inItsVersion(host, { method, instance: at.instance, untilMs }, signal)
      return isNotHere(reply) ? 'not here' : { host, reply }
    })

  /** UnsupportedVersion comes from the dispatcher, before anything is done (oslo_messaging/rpc/dispatcher.py). */
  async function inItsVersion(host: string, call: Omit<Call, 'version'>, signal: AbortSignal) {
    for (let at = spoken; ; at += 1) {
      const version = versions[at % versions.length] ?? ''
      const reply = await rpc(host, { ...call, version }, signal)
      const isOther = reply.is === 'failed' && reply.error === 'UnsupportedVersion'
      if (!isOther) spoken = at % versions.length
      if (!isOther || at === spoken + versions.length - 1) return reply
    }
  }

  async function here(...about: Parameters<typeof ask>): Promise<Heard> {
    const heard = await ask(...about)
    if (heard === 'nowhere') throw new Failure('GUEST_UNREACHABLE', `instance ${about[1].instance} does not run`)
    return heard
  }

  return {
    proves: 'filesystem',

    async reach(at, signal) {
      const heard = await here('unquiesce_instance', at, signal)
      mustBeDone(at, heard)
      return { instance: at.instance, host: heard.host }
    },

    async freeze(at, untilMs, signal) {
      const heard = await here('quiesce_instance', at, signal, untilMs)
      if (!saysFrozen(heard.reply)) mustBeDone(at, heard)
    },

    async hasHeld(at, untilMs, signal) {
      if (Date.now() > untilMs) return false
      const heard = await ask('quiesce_instance', at, signal, untilMs)
      if (heard === 'nowhere') return false
      // an agent before 7.0 does not say why; that its freeze is not forbidden for good is known from the freeze that was made
      if (saysFrozen(heard.reply) || saysDisabled(heard.reply)) return true
      mustBeDone(at, heard)
      return false
    },

    async thaw(at, signal) {
      const heard = await ask('unquiesce_instance', at, signal)
      if (heard === 'nowhere') return 'unheard'
      mustBeDone(at, heard)
      return 'thawed'
    },
  }
}

interface Heard {
  host: string
  reply: Reply
}

/** The qemu-guest-agent of QEMU 7 and later: "Command guest-fsfreeze-freeze has been disabled: the agent is in frozen state". */
function saysFrozen(reply: Reply): boolean {
  return reply.is === 'failed' && reply.words.includes('the agent is in frozen state')
}

function saysDisabled(reply: Reply): boolean {
  return reply.is === 'failed' && /guest-fsfreeze-freeze has been disabled/.test(reply.words)
}

/** It moved, it is off, or it is paused: libvirt's words are the same for the last two. */
function isNotHere(reply: Reply): boolean {
  if (reply.is === 'done') return false
  return reply.error === 'InstanceNotFound' || reply.words.includes('domain is not running')
}

const withoutAgent = ['QemuGuestAgentNotEnabled', 'InstanceQuiesceNotSupported', 'NotImplementedError', 'NoSuchMethod']

function mustBeDone({ instance }: GuestAt, { host, reply }: Heard): void {
  if (reply.is === 'done') return
  const cannot = withoutAgent.includes(reply.error) || saysDisabled(reply) || reply.error === 'UnsupportedVersion'
  const words = `instance ${instance}: nova-compute on ${host} answered ${reply.error}: ${lastWords(reply.words)}`
  throw new Failure(cannot ? 'QUIESCE_UNAVAILABLE' : 'GUEST_UNREACHABLE', words)
}

/** libvirt's own words, which come after Nova's. */
function lastWords(words: string): string {
  return quote(words.replace(/^.*?\[Error Code \d+\] /s, ''))
}
