import * as z from 'zod/mini'
import { Failure } from '../failures.ts'
import { noteToken } from '../known-secrets.ts'
import type { Clock } from '../ports/clock.ts'
import { type Answer, decode, parseJson, refusal, type Service } from './http.ts'
import { orAbort } from './wait.ts'

/**
 * Ten wrong passwords in a row disable the dashboard user until an operator enables it again (Ceph's
 * account-lockout-attempts). This is a brake and no guard: a process remembers its own refusal for so long and knows nothing
 * of the others', so a wrong password uses the ten up in ten minutes, and with n processes in 10/n.
 */
const refusedForMs = 60_000

const loggedIn = z.object({ token: z.string() })
const claims = z.object({ iat: z.number(), exp: z.number() })

export interface Login {
  token(signal: AbortSignal): Promise<string>
  forget(token: string): void
}

/** A token is good at every manager and survives a failover: its secret is in the monitors. `ask` is POST /api/auth. */
export function cephLogin(service: Service, clock: Clock, ask: () => Promise<Answer>): Login {
  let current: { token: string; renewAtMs: number } | null = null
  let asking: Promise<string> | null = null
  let refused: { failure: Failure; untilMs: number } | null = null

  async function logIn(): Promise<string> {
    const askedAtMs = clock.nowMs()
    const answer = await ask()
    if (answer.status !== 201) {
      const failure = refusal(service, "the dashboard's login", answer)
      if (failure.code === service.refused) refused = { failure, untilMs: clock.nowMs() + refusedForMs }
      throw failure
    }
    const { token } = decode(loggedIn, service, "the dashboard's login", answer)
    noteToken(token)
    current = { token, renewAtMs: askedAtMs + lifeMs(token) * 0.9 }
    return token
  }

  return {
    async token(signal) {
      if (current && clock.nowMs() < current.renewAtMs) return current.token
      if (refused && clock.nowMs() < refused.untilMs) throw refused.failure
      asking ??= logIn().finally(() => {
        asking = null
      })
      return orAbort(asking, signal, "the dashboard's login")
    },
    forget(token) {
      if (current?.token === token) current = null
    },
  }
}

/** By its own claims, so that the manager's clock does not matter. */
function lifeMs(token: string): number {
  const payload = Buffer.from(token.split('.')[1] ?? '', 'base64url').toString('utf8')
  const read = claims.safeParse(parseJson(payload))
  if (read.success) return (read.data.exp - read.data.iat) * 1000
  throw new Failure('ANSWER_UNREADABLE', "the dashboard's login: its token is not a JWT with iat and exp")
}
