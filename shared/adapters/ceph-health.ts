import * as z from 'zod/mini'
import type { AskManager } from './ceph-manager.ts'
import { parseJson } from './http.ts'
import { quote } from './words.ts'

const minimal = z.object({
  health: z.object({
    checks: z.array(z.object({ type: z.string(), detail: z.array(z.object({ message: z.string() })) })),
  }),
})

/**
 * What the monitors say of a pool that takes no more; null also when the manager does not say, for then the clone itself shows
 * it. A login is enough to ask (`GET /api/health/minimal`; a pool itself may not be asked for with the scope rbd-image). As
 * OSDMap::check_health has it: `pool 'NAME' is full (running out of quota)`.
 */
export async function fullPool(ask: AskManager, pool: string, signal: AbortSignal): Promise<string | null> {
  const answer = await ask({ what: "the cluster's health", method: 'GET', path: '/api/health/minimal' }, signal)
  const read = minimal.safeParse(parseJson(answer.text))
  if (answer.status !== 200 || !read.success) return null
  const details = read.data.health.checks.filter(({ type }) => type === 'POOL_FULL').flatMap(({ detail }) => detail)
  const words = details.find(({ message }) => message.startsWith(`pool '${pool}' is full`))
  return words ? quote(words.message) : null
}
