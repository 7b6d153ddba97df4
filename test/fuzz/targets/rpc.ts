import { guestNovaRpc } from '../../../shared/adapters/guest-nova-rpc.ts'
import { decodeReply as trueDecode } from '../../../shared/adapters/nova-rpc.ts'
import { Failure } from '../../../shared/failures.ts'
import type { Compute } from '../../../shared/ports/compute.ts'
import { server } from '../../unit/given.ts'
import { ids } from '../calls.ts'
import { Broken, holds, type Target } from '../target.ts'

/**
 * What comes back on the reply queue, one body a call, and the name of the host that Nova says: an end with a code, and no host is
 * asked whose name could be more than a host's.
 */
export function rpcTarget(decodeReply = trueDecode): Target {
  return {
    name: 'rpc',
    covers: ['nova-rpc.ts', 'guest-nova-rpc.ts', 'guest-host.ts'].map((file) => `shared/adapters/${file}`),
    seeds: () => [{ host: 'compute-01', replies: [done] }, ...seeds].map((seed) => JSON.stringify(seed)),
    async feed(input) {
      const { host, replies } = readInput(input)
      const compute: Pick<Compute, 'find'> = { find: async () => ({ ...server(), host }) }
      const left = [...replies]
      const guest = guestNovaRpc((asked) => {
        holds(/^[\w.:-]{1,255}$/.test(asked), `it asked the host ${JSON.stringify(asked.slice(0, 300))}`)
        const body = left.shift()
        if (body === undefined) throw new Failure('GUEST_UNREACHABLE', 'nobody answers')
        return Promise.resolve(decodeReply(Buffer.from(body)).reply)
      }, compute)
      const at = { instance: ids.instance, host: null }
      const signal = AbortSignal.timeout(5_000)
      const ends: string[] = []
      for (const act of [
        () => guest.reach(at, signal),
        () => guest.freeze(at, Date.now() + 5_000, signal),
        () => guest.hasHeld(at, Date.now() + 5_000, signal),
        () => guest.thaw(at, signal),
      ])
        ends.push(await endOf(act))
      return ends.join()
    },
  }
}

async function endOf(act: () => Promise<unknown>): Promise<string> {
  try {
    return JSON.stringify(await act())?.slice(0, 20) ?? 'done'
  } catch (error) {
    if (error instanceof Broken || !(error instanceof Failure)) throw error
    return error.code
  }
}

const reply = (inner: object) => JSON.stringify({ 'oslo.version': '2.0', 'oslo.message': JSON.stringify(inner) })
const failed = (name: string, message: string) =>
  reply({
    _msg_id: 'x',
    failure: JSON.stringify({ class: name, module: 'nova.exception', message, tb: [] }),
    ending: true,
  })
const done = reply({ result: null, failure: null, ending: true, _msg_id: 'x' })
const seeds = [
  [failed('UnsupportedVersion', 'x'), done],
  [failed('InstanceNotFound', 'x'), done],
  [failed('libvirtError', '[Error Code 55] domain is not running')],
  [failed('NovaException', 'x: [Error Code 86] guest-fsfreeze-freeze has been disabled: the agent is in frozen state')],
  [failed('QemuGuestAgentNotEnabled', 'x\nTraceback (most recent call last):\n  y')],
].map((replies) => ({ host: 'compute-01', replies }))

function readInput(input: string): { host: string | null; replies: string[] } {
  try {
    const { host, replies } = JSON.parse(input) as { host?: unknown; replies?: unknown }
    return {
      host: typeof host === 'string' ? host : null,
      replies: Array.isArray(replies)
        ? replies.map((r: unknown) => (typeof r === 'string' ? r : JSON.stringify(r ?? 0)))
        : [input],
    }
  } catch {
    return { host: 'compute-01', replies: [input] }
  }
}
