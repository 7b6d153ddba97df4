import { Failure } from '../failures.ts'
import type { Compute, Server } from '../ports/compute.ts'
import type { GuestAt } from '../ports/guest.ts'
import { isOff, isSaved, isWorkingOnImage } from '../server-state.ts'
import { quote } from './words.ts'
import { outOfTime } from './wait.ts'

const uuid = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i

/** Instances become part of paths, arguments and messages. @throws Failure BAD_REQUEST */
export function checkInstance(instance: string): void {
  if (!uuid.test(instance)) throw new Failure('BAD_REQUEST', `${quote(instance)} is not the id of an instance`)
}

const hostName = /^[A-Za-z0-9][\w.:-]{0,246}$/

/**
 * A hypervisor's name as Nova has it becomes part of a routing key (255 bytes with its beginning) and of libvirt's URI, which may name
 * a program to be run (`qemu+ssh://...?command=`). @throws Failure ANSWER_UNREADABLE
 */
function checkHost(instance: string, host: string): void {
  if (hostName.test(host)) return
  const words = `instance ${instance}: Nova says that it is on ${JSON.stringify(quote(host))}, which is no host's name`
  throw new Failure('ANSWER_UNREADABLE', words)
}

/** @throws Failure TIMEOUT when a freeze comes too late */
export function checkTime(instance: string, untilMs: number): void {
  if (Date.now() > untilMs) throw outOfTime(`freeze of instance ${instance}`)
}

export type OnHost = <T>(
  at: GuestAt,
  signal: AbortSignal,
  ask: (host: string) => Promise<T | 'not here'>,
) => Promise<T | 'nowhere'>

/**
 * Asks the hypervisor that has the instance. Where it was a moment ago is asked first: the window of a freeze has no time for
 * Nova, and a thaw must not wait for one that is down. Nova is asked where it is when that hypervisor has not got it, as
 * after a migration, or does not answer, as before an evacuation.
 * `nowhere`: Nova agrees that it does not run. When Nova says that it does, nobody knows: GUEST_UNREACHABLE.
 */
export function onHost(compute: Pick<Compute, 'find'>): OnHost {
  return async ({ instance, host }, signal, askAny) => {
    checkInstance(instance)
    const ask = async (name: string) => {
      checkHost(instance, name)
      return askAny(name)
    }
    const here = host === null ? 'not here' : await ask(host).catch(silent)
    if (!(here instanceof Failure) && here !== 'not here') return here
    const server = await compute.find(instance, signal).catch((error: unknown) => {
      throw here instanceof Failure ? here : error
    })
    if (!server?.host) return 'nowhere'
    if (here instanceof Failure && server.host === host) throw here
    const said = server.host === host ? 'not here' : await ask(server.host)
    if (said !== 'not here') return said
    const now = await compute.find(instance, signal)
    if (!now || !mayRun(now)) return 'nowhere'
    const states = `${now.vmState}${now.taskState === null ? '' : `, ${now.taskState}`}`
    const words = `instance ${instance} does not run on ${server.host}, and Nova says that it is ${states}`
    throw new Failure('GUEST_UNREACHABLE', words)
  }
}

function silent(error: unknown): Failure {
  if (error instanceof Failure && error.code === 'GUEST_UNREACHABLE') return error
  throw error
}

/** A paused one keeps its memory, and a freeze in it, and cannot be asked. */
function mayRun(server: Server): boolean {
  return server.vmState === 'paused' || !(isOff(server) || isSaved(server) || isWorkingOnImage(server))
}
