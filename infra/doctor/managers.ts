import { type Answer, exchange } from '../../shared/adapters/http.ts'
import { quote } from '../../shared/adapters/words.ts'
import { service } from '../../shared/adapters/ceph-manager.ts'
import { Failure } from '../../shared/failures.ts'
import type { Site } from './site.ts'
import { about, fail, ok, type Verdict, warn } from './verdict.ts'

type Seen =
  { is: 'active' } | { is: 'standby'; of: string } | { is: 'silent'; words: string } | { is: 'other'; words: string }

/**
 * Each of them, without a login: the active manager answers 401, one on standby 303 to the active one, or 503 where
 * `mgr/dashboard/standby_behaviour` is `error`.
 */
export async function managers(site: Site, signal: AbortSignal): Promise<Verdict[]> {
  if (site.given('RBDSNAP_CEPH_GATEWAY') === 'rbd') return [ok('not needed: RBDSNAP_CEPH_GATEWAY is rbd')]
  const urls = site.given('RBDSNAP_CEPH_URLS').map((url) => url.replace(/\/+$/, ''))
  const seen = await Promise.all(urls.map((url) => look(url, signal)))
  const hasActive = seen.some(({ is }) => is === 'active')
  const own = new Set(urls.map((url) => new URL(url).origin))
  return seen.map((manager, at) => about(urls[at] ?? '', verdict(manager, hasActive, own)))
}

function verdict(manager: Seen, hasActive: boolean, own: Set<string>): Verdict {
  const severe = hasActive ? warn : fail
  if (manager.is === 'active') return ok('active')
  if (manager.is === 'silent')
    return severe(
      `does not answer: ${manager.words}`,
      'Is the manager up, and its dashboard on? `ceph mgr services`, `ceph mgr module enable dashboard`.',
    )
  if (manager.is === 'other')
    return severe(
      `is not a dashboard: ${manager.words}`,
      'RBDSNAP_CEPH_URLS: one URL a manager, as in `ceph mgr services`.',
    )
  if (manager.of !== '' && !own.has(manager.of))
    return severe(`on standby; the active one is ${manager.of}`, `Put ${manager.of} into RBDSNAP_CEPH_URLS.`)
  return hasActive ? ok('on standby') : fail('on standby', 'No manager is active: `ceph mgr stat`.')
}

async function look(url: string, signal: AbortSignal): Promise<Seen> {
  try {
    const headers = { accept: 'application/vnd.ceph.api.v1.0+json' }
    const call = { what: url, method: 'GET', url: `${url}/api/summary`, headers, signal, timeoutMs: 8_000 }
    return seenIn(await exchange(service, call), url)
  } catch (error) {
    if (error instanceof Failure) return { is: 'silent', words: error.words }
    throw error
  }
}

function seenIn(answer: Answer, url: string): Seen {
  if (answer.status === 401 && answer.type === 'application/json') return { is: 'active' }
  if (answer.status === 503) return { is: 'standby', of: '' }
  const location = answer.headers.get('location')
  if (answer.status === 303 && location !== null && URL.canParse(location, url))
    return { is: 'standby', of: new URL(location, url).origin }
  return { is: 'other', words: `${String(answer.status)} ${answer.type} ${quote(answer.text)}` }
}
