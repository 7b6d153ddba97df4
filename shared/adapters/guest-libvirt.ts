import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { text } from 'node:stream/consumers'
import * as z from 'zod/mini'
import { Failure } from '../failures.ts'
import type { Compute } from '../ports/compute.ts'
import type { Guest, GuestAt } from '../ports/guest.ts'
import { checkTime, onHost } from './guest-host.ts'
import { parseJson } from './http.ts'
import { quote } from './words.ts'
import { outOfTime } from './wait.ts'

export interface GuestLibvirtOptions {
  /** libvirt's; `{host}` stands for the hypervisor's name as Nova has it: qemu+tls://{host}/system */
  uri: string
  timeoutMs: number
}

type Command = 'guest-fsfreeze-status' | 'guest-fsfreeze-freeze' | 'guest-fsfreeze-thaw'
const answer = z.object({ return: z.union([z.string(), z.number()]) })

/**
 * Freezes and thaws through the hypervisor's libvirt, with its command virsh.
 *
 * By `virsh qemu-agent-command`, not by `domfsfreeze`: it can ask for the state, frozen or not, and it waits no longer
 * than it is told. `domfsfreeze` waits for an agent that hangs without a limit, in the daemon, also when virsh has been
 * killed, and freezes when the agent goes on (measured: libvirt 9.0). libvirt notes `custom-ga-command` in the domain's log.
 */
export function guestLibvirt(options: GuestLibvirtOptions, compute: Pick<Compute, 'find'>): Guest {
  const on = onHost(compute)
  const ask = (command: Command, at: GuestAt, signal: AbortSignal) =>
    on(at, signal, async (host) => {
      const { instance } = at
      const uri = options.uri.replaceAll('{host}', () => host)
      const what = `instance ${instance}: libvirt at ${uri}`
      const said = await virsh(uri, instance, command, options.timeoutMs, signal, what)
      if (said.code !== 0) return refused(what, said.stderr)
      const read = answer.safeParse(parseJson(said.stdout))
      if (read.success) return { value: read.data.return, host }
      throw new Failure('ANSWER_UNREADABLE', `${what}: the guest agent answered ${command} with ${quote(said.stdout)}`)
    })

  async function here(command: Command, at: GuestAt, signal: AbortSignal) {
    const said = await ask(command, at, signal)
    if (said === 'nowhere') throw new Failure('GUEST_UNREACHABLE', `instance ${at.instance} does not run`)
    return said
  }

  return {
    proves: 'filesystem',

    async reach(at, signal) {
      const { host } = await here('guest-fsfreeze-status', at, signal)
      return { instance: at.instance, host }
    },

    async freeze(at, untilMs, signal) {
      // a frozen agent refuses to freeze (qga/main.c)
      if ((await here('guest-fsfreeze-status', at, signal)).value === 'frozen') return
      checkTime(at.instance, untilMs)
      const { value } = await here('guest-fsfreeze-freeze', at, signal)
      if (value === 0) throw new Failure('QUIESCE_UNAVAILABLE', `instance ${at.instance}: no file system can be frozen`)
    },

    // it looks and changes nothing, so it may be late
    async hasHeld(at, _untilMs, signal) {
      const said = await ask('guest-fsfreeze-status', at, signal)
      return said !== 'nowhere' && said.value === 'frozen'
    },

    async thaw(at, signal) {
      const said = await ask('guest-fsfreeze-thaw', at, signal)
      return said === 'nowhere' ? 'unheard' : 'thawed'
    },
  }
}

/** libvirt's words to ours. A domain that is paused "is not running" either, and may be frozen: Nova knows (guest-host.ts). */
function refused(what: string, stderr: string): 'not here' {
  if (/failed to get domain|Domain not found|domain is not running/i.test(stderr)) return 'not here'
  const words = `${what}: ${quote(stderr.replaceAll(/^error: /gm, ''))}`
  const cannot = /agent is not configured|has been disabled|CommandNotFound|has not been found/i.test(stderr)
  throw new Failure(cannot ? 'QUIESCE_UNAVAILABLE' : 'GUEST_UNREACHABLE', words)
}

/** libvirt waits up to 30 s for its turn at the agent; that long nobody waits here. */
const turnMs = 1_000

async function virsh(
  uri: string,
  instance: string,
  command: Command,
  timeoutMs: number,
  signal: AbortSignal,
  what: string,
): Promise<{ code: number; stdout: string; stderr: string }> {
  if (signal.aborted) throw outOfTime(what)
  const seconds = Math.max(1, Math.ceil(timeoutMs / 1_000))
  const args = ['-c', uri, 'qemu-agent-command', instance, JSON.stringify({ execute: command })]
  const child = spawn('virsh', [...args, '--timeout', String(seconds)], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, LC_ALL: 'C' },
  })
  const ends = AbortSignal.any([signal, AbortSignal.timeout(seconds * 1_000 + turnMs)])
  const kill = () => child.kill('SIGKILL')
  ends.addEventListener('abort', kill, { once: true })
  try {
    const [[code], stdout, stderr] = await Promise.all([
      once(child, 'close') as Promise<[number | null]>,
      text(child.stdout),
      text(child.stderr),
    ])
    if (code !== null) return { code, stdout, stderr }
  } catch (error) {
    const words = `${what}: virsh cannot be started: ${error instanceof Error ? error.message : String(error)}`
    throw new Failure('BAD_SETTING', words, { cause: error })
  } finally {
    ends.removeEventListener('abort', kill)
  }
  if (signal.aborted) throw outOfTime(what)
  throw new Failure('GUEST_UNREACHABLE', `${what} did not answer within ${String(seconds)} s`)
}
