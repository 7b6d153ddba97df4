import { Failure } from '../../shared/failures.ts'
import type { Session } from './session.ts'

/** What a tenant types, and what only the embedded cloud can do: its own bytes, its guests, its faults. */
export interface DemoCloud {
  tag: (server: string, tag: string) => Promise<void>
  act: (server: string, action: Record<string, unknown>) => Promise<void>
  deleteServer: (server: string) => Promise<void>
  control: <T>(method: string, path: string, body?: unknown) => Promise<T>
  addServer: (wish: Record<string, unknown>) => Promise<string>
  images: () => Promise<DemoImage[]>
  /** the bytes of `pool/image@snap`, hashed; null when it is not there */
  fingerprint: (at: { cluster?: 'a' | 'b'; pool: string; image: string; snap?: string }) => Promise<string | null>
}

export interface DemoImage {
  id: string
  name: string
  status: string
  [property: string]: unknown
}

export async function demoCloud(session: Session): Promise<DemoCloud> {
  const { env, controlUrl } = session
  if (controlUrl === null)
    throw new Failure('BAD_REQUEST', `the stack over ${session.dataDir} works on a real cloud, which is not for play.`)
  const { token, compute } = await login(env['OS_AUTH_URL'] ?? '')

  async function control<T>(method: string, path: string, body?: unknown): Promise<T> {
    const answer = await fetch(`${controlUrl}${path}`, {
      method,
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    })
    const text = await answer.text()
    if (!answer.ok)
      throw new Failure('UNKNOWN', `the embedded cloud: ${method} ${path}: ${answer.status} ${text.slice(0, 200)}`)
    return (text === '' ? null : JSON.parse(text)) as T
  }
  async function nova(method: string, path: string, body?: unknown): Promise<void> {
    const answer = await fetch(`${compute}${path}`, {
      method,
      headers: { 'x-auth-token': token, 'x-openstack-nova-api-version': '2.79', 'content-type': 'application/json' },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    })
    if (!answer.ok)
      throw new Failure('NOVA_REFUSED', `${method} ${path}: ${answer.status} ${(await answer.text()).slice(0, 200)}`)
  }
  return {
    tag: (server, tag) => nova('PUT', `/servers/${server}/tags/${encodeURIComponent(tag)}`),
    act: (server, action) => nova('POST', `/servers/${server}/action`, action),
    deleteServer: (server) => nova('DELETE', `/servers/${server}`),
    control,
    addServer: async (wish) => (await control<{ id: string }>('POST', '/servers', wish)).id,
    images: async () => (await control<{ images: DemoImage[] }>('GET', '/world')).images,
    async fingerprint({ cluster = 'a', pool, image, snap }) {
      const query = new URLSearchParams({ cluster, pool, image, ...(snap === undefined ? {} : { snap }) })
      return control<{ sha256: string }>('GET', `/fingerprint?${query.toString()}`).then(
        (f) => f.sha256,
        () => null,
      )
    },
  }
}

/** The tenant of the embedded cloud; its password is the lab's and opens nothing else. */
async function login(authUrl: string): Promise<{ token: string; compute: string }> {
  const user = { name: 'tenant', domain: { name: 'Default' }, password: 'lab' }
  const scope = { project: { name: 'tenant', domain: { name: 'Default' } } }
  const auth = { identity: { methods: ['password'], password: { user } }, scope }
  const answer = await fetch(`${authUrl}/auth/tokens`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ auth }),
  })
  const token = answer.headers.get('x-subject-token')
  if (!answer.ok || token === null) throw new Failure('KEYSTONE_REFUSED', `the demo's tenant: ${answer.status}`)
  const body = (await answer.json()) as {
    token: { catalog: { type: string; endpoints: { interface: string; url: string }[] }[] }
  }
  const endpoints = body.token.catalog.find((s) => s.type === 'compute')?.endpoints ?? []
  const compute = endpoints.find((e) => e.interface === 'public')?.url
  if (compute === undefined) throw new Failure('KEYSTONE_REFUSED', 'the catalogue has no compute service.')
  return { token, compute }
}
