import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Identity } from '../../../shared/adapters/keystone.ts'
import { cephCalls, glanceCalls, ids, keystoneCalls, novaCalls, type Where } from '../calls.ts'
import type { Target } from '../target.ts'
import { answered, scriptOf, type Request, type Script } from '../wire.ts'

/**
 * What Keystone, Nova, Glance and the managers' dashboards answer. Whatever it is: an end with a code, and never a request to
 * another host, another pool, another image or another server than the one that was asked for.
 */
type Calls = ReturnType<typeof keystoneCalls>

export const where: Where = {
  keystone: 'https://keystone.test/v3',
  nova: 'https://nova.test/v2.1',
  glance: 'https://glance.test',
  ceph: ['https://mgr-a.test:8443', 'https://mgr-b.test:8443'],
  user: 'rbdsnap',
  password: 'no password',
  cephUser: 'rbdsnap',
  cephPassword: 'no password',
}
export const identity: Identity = {
  token: () => Promise.resolve('a-token-of-none'),
  forget: () => undefined,
  endpoint: () => Promise.resolve(where.nova),
  user: () => Promise.resolve('fb4f27fdd2d24feb9a89e4ba3b19baa7'),
}

const http = ['shared/adapters/http.ts', 'shared/adapters/wait.ts']
const own = ['shared/adapters/openstack.ts', ...http]
const rbd = ['calls', 'clone', 'copy', 'failures', 'removal', 'room', 'volumes'].map(
  (n) => `shared/adapters/rbd-${n}.ts`,
)
const ceph = ['dashboard', 'facts', 'health', 'login', 'manager', 'tasks'].map((n) => `shared/adapters/ceph-${n}.ts`)
const glance = ['glance', 'glance-calls', 'glance-image', 'glance-location', 'glance-removal', 'glance-upload']

export const keystoneTarget = (calls = keystoneCalls(where)) =>
  target(
    'keystone',
    ['shared/adapters/keystone.ts', ...http],
    calls,
    ({ url }) => url.href === `${where.keystone}/auth/tokens`,
  )

export const novaTarget = (calls = novaCalls(where, identity)) =>
  target('nova', ['shared/adapters/nova.ts', 'shared/adapters/guest-nova-pause.ts', ...own], calls, (request) =>
    isBelow(request, where.nova, [`/servers/${ids.instance}`, '/servers/detail', usesImage]),
  )

const usesImage = `/servers?all_tenants=1&soft_deleted=1&limit=1&image=${ids.image}`

export const glanceTarget = (calls = glanceCalls(where, identity)) =>
  target('glance', [...glance.map((name) => `shared/adapters/${name}.ts`), ...own], calls, (request) => {
    if (request.method === 'GET') return isBelow(request, where.glance, ['/v2/images', '/versions'])
    return isBelow(request, where.glance, [`/v2/images/${ids.image}`]) || isCreation(request)
  })

export const cephTarget = (calls = cephCalls(where)) =>
  target(
    'ceph',
    [...ceph, ...rbd, ...http],
    calls,
    (request) =>
      where.ceph.some((url) => isBelow(request, url, ['/api/'])) &&
      poolsOf(request).every((pool) => pools.includes(pool)),
  )

function target(name: string, covers: string[], calls: Calls, mayAsk: (request: Request) => boolean): Target {
  return {
    name,
    covers,
    isConcurrent: true,
    seeds: () => seedsOf(name).map((script) => JSON.stringify(script)),
    feed(input) {
      const script = scriptOf(input, Object.keys(calls))
      const call = calls[script.call]
      if (!call) throw new Error(`no call ${script.call}`)
      return answered(script, mayAsk, call)
    },
  }
}

function seedsOf(name: string): Script[] {
  const path = join(import.meta.dirname, '../seeds/answers.json')
  return (JSON.parse(readFileSync(path, 'utf8')) as Record<string, Script[]>)[name] ?? []
}

function isBelow({ url }: Request, base: string, paths: string[]): boolean {
  return paths.some((path) => {
    const end = url.href.slice((base + path).length)
    return url.href.startsWith(base + path) && (path.endsWith('/') || /^([/?]|$)/.test(end))
  })
}

/** A record is made under the id that was asked for, for the project that was asked for. */
function isCreation({ method, url, body }: Request): boolean {
  if (method !== 'POST' || url.href !== `${where.glance}/v2/images`) return false
  const { id, owner } = JSON.parse(body) as { id: string; owner: string }
  return id === ids.image && owner === ids.project
}

const pools = ['vms', 'images']

/** Wherever a request to a dashboard names a pool: the first part of an image's path, a query, the body. */
function poolsOf({ url, body }: Request): string[] {
  const [, spec] = /^\/api\/block\/image\/(?:trash\/)?([^/]+)/.exec(url.pathname) ?? []
  const isImage = spec !== undefined && spec !== 'trash' && spec !== 'clone_format_version'
  const inPath = isImage ? [decodeURIComponent(spec).split('/')[0] ?? ''] : []
  const named = body === '' ? {} : (JSON.parse(body) as Record<string, string | undefined>)
  const others = [url.searchParams.get('pool_name'), named['child_pool_name'], named['dest_pool_name']]
  return [...inPath, ...others.filter((pool) => typeof pool === 'string')]
}
