import type { Site } from './site.ts'
import { fail, NotAsked, ok, type Verdict, warn } from './verdict.ts'

/** A `Date` has whole seconds. */
const tolerableMs = 5_000
const wrongMs = 60_000

/** Our clock against the `Date` of every service that sends one (uwsgi sends none). */
export async function clocks(site: Site, signal: AbortSignal): Promise<Verdict> {
  const urls = [site.given('OS_AUTH_URL'), ...site.given('RBDSNAP_CEPH_URLS'), ...(await endpoints(site, signal))]
  const read = await Promise.all(urls.map((url) => aheadMs(url, site, signal).catch(() => null)))
  const told = read.flatMap((ms, at) => (ms === null ? [] : [{ ms, host: new URL(urls[at] ?? '').host }]))
  const worst = told.sort((a, b) => Math.abs(b.ms) - Math.abs(a.ms))[0]
  if (!worst) throw new NotAsked('no service tells its time', 'Compare the clocks by hand: `chronyc tracking`.')
  const said = `${worst.host} is ${Math.round(Math.abs(worst.ms) / 1000)} s ${worst.ms < 0 ? 'behind' : 'ahead'}`
  const remedy = 'Let every host follow the same time servers.'
  if (Math.abs(worst.ms) > wrongMs) return fail(said, remedy)
  return Math.abs(worst.ms) > tolerableMs
    ? warn(said, remedy)
    : ok(`the same in ${told.length} services to some seconds`)
}

async function endpoints(site: Site, signal: AbortSignal): Promise<string[]> {
  const all = (['image', 'compute'] as const).map((type) => site.identity().endpoint(type, signal))
  return (await Promise.allSettled(all)).flatMap((end) => (end.status === 'fulfilled' ? [end.value] : []))
}

/** By the middle of the exchange. */
async function aheadMs(url: string, site: Site, signal: AbortSignal): Promise<number | null> {
  const askedAtMs = site.clock.nowMs()
  const response = await fetch(url, { redirect: 'manual', signal })
  await response.body?.cancel()
  const at = Date.parse(response.headers.get('date') ?? '')
  return Number.isNaN(at) ? null : at + 500 - (askedAtMs + site.clock.nowMs()) / 2
}
