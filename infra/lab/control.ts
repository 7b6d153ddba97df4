import type { Ini } from './ini.ts'
import { bringUp } from './part.ts'
import { partNamed } from './parts.ts'
import { kill, pidOf, stop } from './process.ts'

/**
 * For tests that break things, and bring them back. A part that is started reads its configuration anew: the lab's, with
 * `settings` laid over it for this one start.
 *
 *   restartPart('nova-compute', novaBy.publicGlance)       Nova meets the Glance that hides locations
 *   restartPart('keystone', { token: { expiration: 20 } })
 */
export async function startPart(name: string, settings: Ini = {}): Promise<void> {
  await bringUp(partNamed(name), settings)
}

async function stopPart(name: string): Promise<void> {
  await stop(partNamed(name).name)
}

/** SIGKILL, to all of its processes at once. */
export async function killPart(name: string): Promise<void> {
  await kill(partNamed(name).name)
}

export async function restartPart(name: string, settings: Ini = {}): Promise<void> {
  await stopPart(name)
  await startPart(name, settings)
}

export const isPartUp = (name: string): boolean => pidOf(partNamed(name).name) !== null
