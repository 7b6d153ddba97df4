import { type Answer, type Call, exchange, refusal, type Service } from './http.ts'
import type { Identity } from './keystone.ts'

export interface OpenStackCall extends Omit<Call, 'url' | 'timeoutMs'> {
  path: string
  timeoutMs?: number | null
  /** Asked directly before each request that goes out, the one with a new token too; throws when it must not go any more. */
  mustBeSoon?: () => void
}
export type Send = (call: OpenStackCall) => Promise<Answer>

const ordinaryMs = 30_000

/**
 * Calls to one OpenStack service with a token. A 401 means that the token is too old (or that the service's middleware
 * thinks so): a new one, and once more. Refused again, it is not the token.
 *
 * A 500 may be the token as well: one that was revoked is believed by a service's middleware for another five minutes, and not by
 * those that the service asks with it (Nova, Neutron). The next try comes with a new one.
 */
export function openstack(identity: Identity, service: Service, base: (signal: AbortSignal) => Promise<string>): Send {
  return async function send(call) {
    const { path, mustBeSoon, ...rest } = call
    const url = `${await base(call.signal)}${path}`
    const once = async (): Promise<Answer & { token: string }> => {
      const token = await identity.token(call.signal)
      const headers = { accept: 'application/json', ...call.headers, 'x-auth-token': token }
      mustBeSoon?.()
      const answer = await exchange(service, { timeoutMs: ordinaryMs, ...rest, url, headers })
      return { ...answer, token }
    }
    const first = await once()
    if (first.status === 500) identity.forget(first.token)
    if (first.status !== 401) return first
    identity.forget(first.token)
    // a stream that was read cannot be sent again
    const second = call.body instanceof ReadableStream ? first : await once()
    if (second.status !== 401) return second
    identity.forget(second.token)
    throw refusal(service, call.what, second, { 401: 'TOKEN_REFUSED' })
  }
}
