import { execFile } from 'node:child_process'
import { accessSync, constants, existsSync } from 'node:fs'
import { promisify } from 'node:util'
import { guestAgent } from '../../shared/adapters/guest-agent.ts'
import { quote } from '../../shared/adapters/words.ts'
import { busOf, wordsOf } from './bus.ts'
import { ping } from './nova-ping.ts'
import { computesOf, serversOf } from './nova.ts'
import type { Site } from './site.ts'
import { about, fail, NotAsked, ok, type Verdict, verdictOf, warn } from './verdict.ts'

/** A cloud may have hundreds of hosts: these tell whether the road is right. */
const samples = 20
const agents = 3

type Way = (site: Site, signal: AbortSignal) => Promise<Verdict>
const ways: Record<string, Way> = { 'nova-rpc': novaRpc, libvirt, pause, socket }

/** The way that is configured; when it cannot work, which of the others can. */
export async function guest(site: Site, signal: AbortSignal): Promise<Verdict> {
  const chosen = site.given('RBDSNAP_GUEST')
  const verdict = await attempt(chosen, site, signal)
  if (verdict.status !== 'fail') return about(chosen, verdict)
  const others = Object.keys(ways).filter((way) => way !== chosen)
  const tried = await Promise.all(others.map(async (way) => ({ way, ...(await attempt(way, site, signal)) })))
  const able = tried.filter(({ status }) => status === 'ok').map(({ way }) => `RBDSNAP_GUEST=${way}`)
  const remedy = able.length === 0 ? verdict.remedy : `${verdict.remedy ?? ''} What can work here: ${able.join(', ')}.`
  return about(chosen, { ...verdict, remedy })
}

async function attempt(way: string, site: Site, signal: AbortSignal): Promise<Verdict> {
  const ask = ways[way]
  if (!ask) return fail(`there is no way ${way}`, `RBDSNAP_GUEST is one of ${Object.keys(ways).join(', ')}.`)
  return ask(site, signal).catch(verdictOf)
}

async function novaRpc(site: Site, signal: AbortSignal): Promise<Verdict> {
  const bus = busOf(site)
  const hosts = await someHosts(site, signal)
  const remedy = `Our user of the bus needs write on the exchange ${bus.exchange}, configure and read on queues reply_rbdsnap_*.`
  try {
    const answered = await ping(bus, hosts)
    return reached(hosts, (host) => answered.has(host), 'nova-compute does not answer over the bus', remedy)
  } catch (error) {
    return fail(wordsOf(error), remedy)
  }
}

async function libvirt(site: Site, signal: AbortSignal): Promise<Verdict> {
  const uri = site.env['RBDSNAP_LIBVIRT_URI'] || 'qemu+tls://{host}/system'
  const hosts = await someHosts(site, signal)
  const refusals = new Map<string, string>()
  await Promise.all(
    hosts.map(async (host) => {
      const words = await virsh(uri.replaceAll('{host}', host), signal)
      if (words !== null) refusals.set(host, words)
    }),
  )
  const words = `virsh -c ${uri} version: ${[...refusals.values()][0] ?? ''}`
  return reached(
    hosts,
    (host) => !refusals.has(host),
    words,
    "libvirtd's TLS port and our client certificate; `virsh` itself.",
  )
}

/** Null: it is let in, with the right to write, which freezing needs. */
async function virsh(uri: string, signal: AbortSignal): Promise<string | null> {
  try {
    await promisify(execFile)('virsh', ['-c', uri, 'version'], { signal, env: { ...process.env, LC_ALL: 'C' } })
    return null
  } catch (error) {
    const { stderr, message } = error as Error & { stderr?: string }
    return quote(stderr || message)
  }
}

/** By the role admin, which `keystone roles` has seen. */
async function pause(site: Site, signal: AbortSignal): Promise<Verdict> {
  await someHosts(site, signal)
  return ok("guests are paused by Nova's API; every snapshot of a running one is `crash`")
}

/**
 * The sockets' folder, and the agents behind some of them. A socket that takes us in and never answers is as good as none: on a
 * hypervisor libvirt holds its only connection.
 */
async function socket(site: Site, signal: AbortSignal): Promise<Verdict> {
  const path = site.given('RBDSNAP_GUEST_SOCKET')
  const folder = path.slice(0, path.lastIndexOf('/', path.indexOf('{instance}')) + 1)
  const remedy = 'RBDSNAP_GUEST_SOCKET; running guests cannot be frozen without it.'
  try {
    accessSync(folder, constants.R_OK | constants.X_OK)
  } catch (error) {
    return fail((error as Error).message, remedy)
  }
  const all = await serversOf(site, signal)
  const here = all.filter(({ id }) => existsSync(path.replaceAll('{instance}', id))).slice(0, agents)
  if (here.length === 0) return warn(`no server's socket is in ${folder} yet`, remedy)
  const refusals = await Promise.all(here.map(async ({ id }) => agentRefuses(path, id, signal)))
  if (refusals.includes(null)) return ok(`agents answer in ${folder}`)
  return warn(`${here.length} of ${here.length} agents do not answer: ${refusals[0] ?? ''}`, remedy)
}

async function agentRefuses(socket: string, instance: string, signal: AbortSignal): Promise<string | null> {
  return guestAgent({ socket, timeoutMs: 2_000 })
    .reach({ instance, host: null }, signal)
    .then(() => null, wordsOf)
}

async function someHosts(site: Site, signal: AbortSignal): Promise<string[]> {
  const { up } = await computesOf(site, signal)
  if (up.length === 0) throw new NotAsked('no compute is up', '`openstack compute service list`.')
  return up.slice(0, samples)
}

function reached(hosts: string[], isReached: (host: string) => boolean, words: string, remedy: string): Verdict {
  const lost = hosts.filter((host) => !isReached(host))
  if (lost.length === 0) return ok(`reaches ${hosts.length} of ${hosts.length} computes asked`)
  const said = `${words}: ${lost.slice(0, 5).join(', ')}${lost.length > 5 ? ', ...' : ''} (${lost.length} of ${hosts.length})`
  return (lost.length === hosts.length ? fail : warn)(said, remedy)
}
