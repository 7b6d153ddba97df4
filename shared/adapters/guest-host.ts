import { Failure } from '../failures.ts'
import type { Compute, Server } from '../ports/compute.ts'
import { isOff, isSaved, isWorkingOnImage } from '../server-state.ts'
import { quote } from './http.ts'
import { outOfTime } from './wait.ts'

const uuid = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i

/** Instances become part of paths, arguments and messages. @throws Failure BAD_REQUEST */
export function checkInstance(instance: string): void {
  if (!uuid.test(instance)) throw new Failure('BAD_REQUEST', `${quote(instance)} is not the id of an instance`)
}

/** @throws Failure TIMEOUT when a freeze comes too late */
export function checkTime(instance: string, untilMs: number): void {
  if (Date.now() > untilMs) throw outOfTime(`freeze of instance ${instance}`)
}

export type OnHost = <T>(
  instance: string,
  signal: AbortSignal,
  ask: (host: string) => Promise<T | 'not here'>,
) => Promise<T | 'nowhere'>

/**
 * Asks the hypervisor that has the instance, which is Nova's to say. Where it was a moment ago is asked first, because the
 * window of a freeze has no time for Nova; a hypervisor that has not got it, as after a migration, makes Nova be asked again.
 * `nowhere`: Nova agrees that it does not run. When Nova says that it does, nobody knows: GUEST_UNREACHABLE.
 */
export function onHost(compute: Pick<Compute, 'find'>): OnHost {
  const known = new Map<string, string>()

  return async (instance, signal, ask) => {
    checkInstance(instance)
    const last = known.get(instance)
    known.delete(instance)
    const here = last === undefined ? 'not here' : await ask(last)
    if (last !== undefined && here !== 'not here') {
      remember(instance, last)
      return here
    }
    const server = await compute.find(instance, signal)
    if (!server?.host) return 'nowhere'
    const said = await ask(server.host)
    if (said !== 'not here') {
      remember(instance, server.host)
      return said
    }
    const now = await compute.find(instance, signal)
    if (!now || !mayRun(now)) return 'nowhere'
    const states = `${now.vmState}${now.taskState === null ? '' : `, ${now.taskState}`}`
    const words = `instance ${instance} does not run on ${server.host}, and Nova says that it is ${states}`
    throw new Failure('GUEST_UNREACHABLE', words)
  }

  function remember(instance: string, host: string): void {
    if (known.size >= mostKnown) known.clear()
    known.set(instance, host)
  }
}

const mostKnown = 1_000

/** A paused one keeps its memory, and a freeze in it, and cannot be asked. */
function mayRun(server: Server): boolean {
  return server.vmState === 'paused' || !(isOff(server) || isSaved(server) || isWorkingOnImage(server))
}
