import { fsidOf } from '../../shared/adapters/ceph-conf.ts'
import { type CephFacts, cloneFormatMeans, commandFacts, dashboardFacts } from '../../shared/adapters/ceph-facts.ts'
import { Failure } from '../../shared/failures.ts'
import { serversOf } from './nova.ts'
import type { Site } from './site.ts'
import { about, fail, NotAsked, ok, type Verdict, warn } from './verdict.ts'

const isByCommand = (site: Site) => site.given('RBDSNAP_CEPH_GATEWAY') === 'rbd'

/** Cluster and rights as the gateway that is chosen shows them to our user. */
function factsOf(site: Site): CephFacts {
  return site.once('facts', () => (isByCommand(site) ? byCommand(site) : byDashboard(site)))
}

function byDashboard(site: Site): CephFacts {
  return dashboardFacts({
    urls: site.given('RBDSNAP_CEPH_URLS'),
    user: site.given('RBDSNAP_CEPH_USER'),
    password: site.given('RBDSNAP_CEPH_PASSWORD'),
    clock: site.clock,
  })
}

function byCommand(site: Site): CephFacts {
  return commandFacts({
    command: site.given('RBDSNAP_RBD_COMMAND').split(' '),
    conf: site.given('RBDSNAP_RBD_CONF'),
    user: site.given('RBDSNAP_RBD_USER') ?? null,
    ceph: site.given('RBDSNAP_CEPH_COMMAND')?.split(' ') ?? null,
  })
}

const pools = (site: Site) => [...new Set([site.given('RBDSNAP_NOVA_POOL'), site.given('RBDSNAP_GLANCE_POOL')])]

/** Its API got its versions, by which we speak to it, in 16 (Pacific). */
const oldest = 16

export async function login(site: Site, signal: AbortSignal): Promise<Verdict> {
  const version = await factsOf(site).version(signal)
  if (version === null) return ok('by `rbd`; it takes `ceph`, RBDSNAP_CEPH_COMMAND, to tell the version')
  const who = isByCommand(site) ? 'the key' : site.given('RBDSNAP_CEPH_USER')
  if (isByCommand(site) || Number.parseInt(version) >= oldest) return ok(`${who} is let in by Ceph ${version}`)
  return fail(
    `Ceph ${version}: its dashboard is older than ${oldest}`,
    'RBD through the dashboard needs Pacific or newer; else RBDSNAP_CEPH_GATEWAY=rbd.',
  )
}

export async function role(site: Site, signal: AbortSignal): Promise<Verdict> {
  const missing = await factsOf(site).missingRights(pools(site), signal)
  const needed = isByCommand(site)
    ? { has: `\`profile rbd\` on ${pools(site).join(' and ')}`, remedy: 'ceph auth caps; docs/operate.md, "Rights".' }
    : {
        has: 'read, create, update and delete in the scope rbd-image',
        remedy: 'ceph dashboard ac-role-add-scope-perms ROLE rbd-image read create update delete',
      }
  if (missing.length === 0) return ok(needed.has)
  return fail(`our user of Ceph lacks ${missing.join('; ')}`, needed.remedy)
}

/** A question about an image that is not there: what is said of it tells whether the pool is. */
export async function poolsThere(site: Site, signal: AbortSignal): Promise<Verdict[]> {
  const facts = factsOf(site)
  return Promise.all(
    pools(site).map(async (pool) => {
      try {
        await facts.features({ pool, image: 'rbdsnap-doctor-no-such-image' }, signal)
        return about(pool, ok('is there'))
      } catch (error) {
        if (!(error instanceof Failure) || !error.words.includes('error opening pool')) throw error
        return about(pool, fail(error.words, 'RBDSNAP_NOVA_POOL, RBDSNAP_GLANCE_POOL; `ceph osd pool ls`.'))
      }
    }),
  )
}

export async function cloneFormat(site: Site, signal: AbortSignal): Promise<Verdict> {
  const format = await factsOf(site).cloneFormat(site.given('RBDSNAP_NOVA_POOL'), signal)
  if (format === null)
    throw new NotAsked('it takes `ceph`, RBDSNAP_CEPH_COMMAND', '`ceph osd dump | grep require_min_compat`.')
  const said = `${format}: ${cloneFormatMeans[format]}`
  if (format === 2) return ok(said)
  return warn(said, 'Where all clients are mimic or newer: `ceph osd set-require-min-compat-client mimic`.')
}

/** Each of the clusters' ceph.conf; the home cluster's must be of the cluster that the dashboard manages. */
export async function confs(site: Site): Promise<Verdict[]> {
  const home = site.given('RBDSNAP_RBD_CONF')
  const wanted = site.given('RBDSNAP_CEPH_FSID').toLowerCase()
  const fsids = await Promise.all([home, ...site.given('RBDSNAP_RBD_OTHER_CONFS')].map(readFsid))
  const seen = fsids.map(({ conf, fsid, verdict }, at) => {
    if (verdict) return about(conf, verdict)
    const isHome = at === 0
    if (isHome === (fsid === wanted))
      return about(conf, ok(`${fsid}, ${isHome ? "Glance's cluster" : 'another cluster'}`))
    const words = isHome ? `is of cluster ${fsid}, RBDSNAP_CEPH_FSID is ${wanted}` : "is Glance's cluster again"
    return about(conf, fail(words, 'RBDSNAP_RBD_CONF, RBDSNAP_RBD_OTHER_CONFS, RBDSNAP_CEPH_FSID; `ceph fsid`.'))
  })
  return seen
}

async function readFsid(conf: string): Promise<{ conf: string; fsid: string; verdict?: Verdict }> {
  try {
    return { conf, fsid: await fsidOf(conf) }
  } catch (error) {
    if (!(error instanceof Failure)) throw error
    return { conf, fsid: '', verdict: fail(error.words, 'RBDSNAP_RBD_CONF: uploads and other clusters need it.') }
  }
}

const samples = 8

/** Some disks: are they where Nova's disks should be, and can they be cloned? */
export async function disks(site: Site, signal: AbortSignal): Promise<Verdict> {
  const pool = site.given('RBDSNAP_NOVA_POOL')
  const servers = (await serversOf(site, signal)).filter((server) => server.image !== '').slice(0, samples)
  if (servers.length === 0)
    throw new NotAsked('there is no server that was booted from an image', 'Boot one, then ask again.')
  const seen = await Promise.all(
    servers.map(async ({ id }) => ({
      id,
      features: await factsOf(site).features({ pool, image: `${id}_disk` }, signal),
    })),
  )
  const there = seen.filter((disk) => disk.features !== null)
  if (there.length === 0)
    return warn(
      `none of ${servers.length} servers has its disk in ${pool}`,
      'RBDSNAP_NOVA_POOL is `[libvirt] images_rbd_pool` of nova.conf; or the disks are in another cluster.',
    )
  const flat = there.filter((disk) => !disk.features?.includes('layering'))
  const said = `${there.length} of ${servers.length} servers looked at have their disk in ${pool}`
  if (flat.length === 0) return ok(`${said}, with layering`)
  const few = flat.slice(0, 3).map(({ id }) => `${id}_disk`)
  return warn(`${said}, without layering: ${few.join(', ')}`, 'They are copied, not cloned; it cannot be added later.')
}
