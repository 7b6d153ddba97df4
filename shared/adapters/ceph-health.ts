import * as z from 'zod/mini'
import type { AskManager } from './ceph-manager.ts'
import { parseJson } from './http.ts'
import { type RbdCommand, run } from './rbd-process.ts'
import { quote } from './words.ts'

/**
 * What the monitors say of a pool that takes no more, in the words of OSDMap::check_health: `pool 'NAME' is full (running out of
 * quota)`. Null also when who is asked does not say, for then the clone itself shows it.
 */
const detail = z.array(z.object({ message: z.string() }))
const minimal = z.object({ health: z.object({ checks: z.array(z.object({ type: z.string(), detail })) }) })
const byCommand = z.object({ checks: z.record(z.string(), z.object({ detail })) })

/** A login is enough to ask (`GET /api/health/minimal`; a pool itself may not be asked for with the scope rbd-image). */
export async function fullPool(ask: AskManager, pool: string, signal: AbortSignal): Promise<string | null> {
  const answer = await ask({ what: "the cluster's health", method: 'GET', path: '/api/health/minimal' }, signal)
  const read = minimal.safeParse(parseJson(answer.text))
  if (answer.status !== 200 || !read.success) return null
  const { checks } = read.data.health
  return saysFull(
    pool,
    checks.filter(({ type }) => type === 'POOL_FULL').flatMap((check) => check.detail),
  )
}

/** `mon 'profile rbd'` is enough to ask. */
export async function fullPoolByCommand(ceph: RbdCommand, pool: string, signal: AbortSignal): Promise<string | null> {
  const { code, stdout } = await run(ceph, "the cluster's health", ['health', 'detail', '--format', 'json'], signal)
  const read = byCommand.safeParse(parseJson(stdout))
  if (code !== 0 || !read.success) return null
  return saysFull(pool, read.data.checks['POOL_FULL']?.detail ?? [])
}

function saysFull(pool: string, details: z.infer<typeof detail>): string | null {
  const words = details.find(({ message }) => message.startsWith(`pool '${pool}' is full`))
  return words ? quote(words.message) : null
}
