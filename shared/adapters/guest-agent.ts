import { randomInt } from 'node:crypto'
import { once } from 'node:events'
import { createConnection, type Socket } from 'node:net'
import * as z from 'zod/mini'
import { Failure, type FailureCode } from '../failures.ts'
import type { Guest } from '../ports/guest.ts'
import { checkInstance, checkTime } from './guest-host.ts'
import { networkCode, parseJson } from './http.ts'
import { quote } from './words.ts'
import { outOfTime } from './wait.ts'

export interface GuestAgentOptions {
  /** qemu's end of the channel org.qemu.guest_agent.0; `{instance}` stands for the instance's id */
  socket: string
  timeoutMs: number
}

const longestLine = 64 * 1024

const fsfreezeStatus = z.enum(['thawed', 'frozen'])
const reply = z.union([
  z.object({ error: z.object({ class: z.string(), desc: z.string() }) }),
  z.object({ return: z.unknown() }),
])

type Command = 'guest-fsfreeze-status' | 'guest-fsfreeze-freeze' | 'guest-fsfreeze-thaw'
/** What the agent returned, or what it says is wrong. */
type Said = { value: unknown } | { error: string }
type Ask = (command: Command) => Promise<Said>

/** Freezes and thaws through qemu-guest-agent, in its own protocol: a JSON object a line, one client at a time. */
export function guestAgent(options: GuestAgentOptions): Guest {
  /** null: nobody listens on that socket, so there is no agent's channel, or no running guest */
  async function talk<T>(instance: string, signal: AbortSignal, dialogue: (ask: Ask) => Promise<T>): Promise<T | null> {
    checkInstance(instance)
    const what = `instance ${instance}`
    if (signal.aborted) throw outOfTime(what)
    const socket = createConnection(options.socket.replaceAll('{instance}', instance))
    const ends = AbortSignal.any([signal, AbortSignal.timeout(options.timeoutMs)])
    const cut = () => socket.destroy(new Error(`no answer in ${String(options.timeoutMs)} ms`))
    ends.addEventListener('abort', cut, { once: true })
    try {
      await once(socket, 'connect')
      return await dialogue(await synchronised(socket))
    } catch (error) {
      if (signal.aborted) throw outOfTime(what, error)
      if (error instanceof Failure) throw error
      const code = networkCode(error)
      if (code === 'ENOENT' || code === 'ECONNREFUSED') return null
      const why = error instanceof Error ? error.message : String(error)
      throw new Failure('GUEST_UNREACHABLE', `${what}: the guest agent: ${why}`, { cause: error })
    } finally {
      ends.removeEventListener('abort', cut)
      // at once: qemu lets the next client in only when this one is gone
      socket.on('error', () => undefined)
      socket.destroy()
    }
  }

  return {
    proves: 'filesystem',

    async reach({ instance }, signal) {
      const reached = await talk(instance, signal, (ask) => status(ask, instance))
      if (reached === null) throw noChannel(instance)
      return { instance, host: null }
    },

    async freeze({ instance }, untilMs, signal) {
      checkTime(instance, untilMs)
      const isDone = await talk(instance, signal, async (ask) => {
        // a frozen agent refuses to freeze: it allows only sync, ping, info, status and thaw (qga/main.c)
        if ((await status(ask, instance)) === 'frozen') return true
        const count = value(await ask('guest-fsfreeze-freeze'), 'QUIESCE_UNAVAILABLE', instance)
        // none could be frozen: the agent then counts itself as thawed (qga/commands-posix.c)
        if (count === 0) throw new Failure('QUIESCE_UNAVAILABLE', `instance ${instance}: no file system can be frozen`)
        return true
      })
      if (isDone === null) throw noChannel(instance)
    },

    // it looks and changes nothing, so it may be late
    hasHeld: async ({ instance }, _untilMs, signal) =>
      (await talk(instance, signal, (ask) => status(ask, instance))) === 'frozen',

    async thaw({ instance }, signal) {
      const now = await talk(instance, signal, async (ask) => {
        value(await ask('guest-fsfreeze-thaw'), 'GUEST_UNREACHABLE', instance)
        return status(ask, instance)
      })
      if (now === 'frozen') throw new Failure('GUEST_UNREACHABLE', `instance ${instance} is frozen after its thaw`)
      // no channel: no agent ever froze it, or its qemu is gone
      return now ?? 'unheard'
    },
  }
}

const noChannel = (instance: string) =>
  new Failure('QUIESCE_UNAVAILABLE', `instance ${instance} has no guest agent's channel`)

async function status(ask: Ask, instance: string): Promise<'thawed' | 'frozen'> {
  const said = value(await ask('guest-fsfreeze-status'), 'QUIESCE_UNAVAILABLE', instance)
  const read = fsfreezeStatus.safeParse(said)
  if (read.success) return read.data
  throw new Failure(
    'ANSWER_UNREADABLE',
    `instance ${instance}: the guest agent's freeze status is ${quote(String(said))}`,
  )
}

function value(said: Said, code: FailureCode, instance: string): unknown {
  if ('value' in said) return said.value
  throw new Failure(code, `instance ${instance}: the guest agent answered: ${quote(said.error)}`)
}

/**
 * An earlier client may have died in the middle of a request or before its answer. 0xFF empties the agent's parser; what
 * comes before the 0xFF of its answer belonged to somebody else (QEMU guest agent protocol, guest-sync-delimited).
 */
async function synchronised(socket: Socket): Promise<Ask> {
  const read = reader(socket)
  const id = randomInt(1, 2 ** 31)
  socket.write(Buffer.concat([Buffer.of(0xff), request('guest-sync-delimited', { id })]))
  for (let answered = false; !answered;) {
    await read(0xff)
    const said = understood(await read(0x0a))
    answered = said !== null && 'value' in said && said.value === id
  }
  return async (command) => {
    socket.write(request(command))
    const line = await read(0x0a)
    const said = understood(line)
    if (said) return said
    throw new Failure('ANSWER_UNREADABLE', `the guest agent answered ${command} with ${quote(line)}`)
  }
}

function request(execute: Command | 'guest-sync-delimited', more?: { id: number }): Buffer {
  return Buffer.from(`${JSON.stringify({ execute, ...(more ? { arguments: more } : {}) })}\n`)
}

function understood(line: string): Said | null {
  const read = reply.safeParse(parseJson(line))
  if (!read.success) return null
  return 'error' in read.data
    ? { error: `${read.data.error.class}: ${read.data.error.desc}` }
    : { value: read.data.return }
}

/** Text up to a byte; the rest is kept for the next read. */
function reader(socket: Socket): (until: number) => Promise<string> {
  const chunks = socket[Symbol.asyncIterator]() as AsyncIterator<Buffer>
  let kept = Buffer.alloc(0)
  return async (until) => {
    for (;;) {
      const end = kept.indexOf(until)
      if (end >= 0) {
        const text = kept.subarray(0, end).toString('utf8')
        kept = kept.subarray(end + 1)
        return text
      }
      if (kept.length > longestLine) throw new Error('it talks without an end')
      const next = await chunks.next()
      if (next.done) throw new Error('it hung up')
      kept = Buffer.concat([kept, next.value])
    }
  }
}
