import type { Cluster } from './cluster.ts'
import type { startDashboards } from './dashboard.ts'
import type { GlanceSettings } from './glance-service.ts'
import { evidence } from './guest-disk.ts'
import type { AgentState } from './guests.ts'
import { type Answer, type Fault, type Faults, type Request, serve } from './http.ts'
import type { LoadGauge } from './load.ts'
import type { NovaChange, NovaCore } from './nova-core.ts'
import type { Instance } from './nova-instances.ts'
import type { NewServer, ServerFactory } from './servers.ts'
import { viewWorld } from './world-view.ts'
import { projects, users } from './world.ts'

type Dashboards = Awaited<ReturnType<typeof startDashboards>>

class Wrong extends Error {
  readonly status: number

  constructor(status: number, message: string) {
    super(message)
    this.status = status
  }
}

/** The embedded cloud's own HTTP, for tests, the demo and tools: no part of OpenStack. */
export function startControl(options: {
  port: number
  faults: Faults
  load: Record<'ceph' | 'glance', LoadGauge>
  nova: NovaCore
  factory: ServerFactory
  dashboards: Dashboards
}) {
  const { faults, load, nova, dashboards } = options

  function cluster(request: Request): Cluster {
    return request.query.get('cluster') === 'b' ? nova.clusters.b : nova.clusters.a
  }

  async function addServer(request: Request): Promise<Answer> {
    const wish = readJson(request) as Partial<NewServer>
    if (!wish.name || !wish.disk) throw new Wrong(400, 'name and disk are needed')
    const made = await options.factory.addServer({
      project: projects.tenant,
      user: users.tenant,
      sizeGib: 1,
      agent: 'on',
      ...wish,
      name: wish.name,
      disk: wish.disk,
    })
    return { status: 201, body: made }
  }

  function server(id: string): Instance {
    const found = nova.instances.get(id)
    if (!found) throw new Wrong(404, `no server ${id}`)
    return found
  }

  function guest(request: Request, id: string): Answer {
    if (request.method === 'PUT') {
      const { agent } = readJson(request) as { agent?: AgentState }
      if (!agent || !nova.guests.setAgent(id, agent)) throw new Wrong(404, `no guest ${id}, or no agent state given`)
    }
    const found = nova.guests.find(id)
    if (!found) throw new Wrong(404, `no guest ${id}`)
    return ok(found)
  }

  /** Was the guest frozen at the instant of this snapshot (or now, of its disk)? The bytes on it tell. */
  function evidenceOf(request: Request): Answer {
    const { query } = request
    return ok(evidence(cluster(request), need(query, 'pool'), need(query, 'image'), query.get('snap')))
  }

  function managers(request: Request, deed: string | undefined): Answer {
    const body = request.body.length > 0 ? (readJson(request) as Record<string, unknown>) : {}
    if (deed === 'failover') dashboards.failover()
    else if (deed === 'kill') dashboards.killActive(body)
    else if (deed === 'slow')
      dashboards.slow(body['operation'] as 'flatten' | 'copy' | 'clone', Number(body['perObjectMs']))
    else if (deed === 'user') dashboards.setUserEnabled(String(body['name']), body['isEnabled'] === true)
    else throw new Wrong(404, 'failover, kill, slow or user')
    return ok({ active: dashboards.active() })
  }

  async function bus(request: Request): Promise<Answer> {
    const { query } = request
    if (request.method === 'DELETE') {
      nova.notify.acknowledge(Number(need(query, 'through')))
      return { status: 204 }
    }
    return ok(await nova.notify.after(Number(query.get('after') ?? 0), Number(query.get('wait_ms') ?? 0)))
  }

  function faultsOf(request: Request): Answer {
    if (request.method === 'POST') faults.add(readJson(request) as Fault)
    if (request.method === 'DELETE') faults.clear()
    return ok(faults.list())
  }

  /** How many calls at once; DELETE begins to count anew. */
  function loadOf(request: Request): Answer {
    if (request.method === 'DELETE') for (const gauge of Object.values(load)) gauge.reset()
    return ok({ ceph: load.ceph.read(), glance: load.glance.read() })
  }

  function settings(request: Request, service: 'nova' | 'glance'): Answer {
    const isChange = request.method === 'PUT'
    if (isChange && service === 'nova') nova.set(readJson(request) as NovaChange)
    if (isChange && service === 'glance') nova.glance.set(readJson(request) as Partial<GlanceSettings>)
    return ok(service === 'nova' ? nova.settings() : nova.glance.settings())
  }

  function servers(request: Request, id: string | undefined): Promise<Answer> | Answer {
    if (id === undefined) return request.method === 'POST' ? addServer(request) : ok(nova.instances.all())
    if (request.method === 'PUT') nova.instances.put(id, { ...server(id), ...(readJson(request) as Partial<Instance>) })
    return ok(server(id))
  }

  function fingerprint(request: Request): Answer {
    const { query } = request
    const sha256 = cluster(request).fingerprint(need(query, 'pool'), need(query, 'image'), query.get('snap'))
    return ok({ sha256 })
  }

  function route(request: Request): Promise<Answer> | Answer {
    const [, topic, id] = request.path.split('/')
    if (topic === 'world') return ok(viewWorld(nova))
    if (topic === 'faults') return faultsOf(request)
    if (topic === 'load') return loadOf(request)
    if (topic === 'bus') return bus(request)
    if (topic === 'guests') return id === undefined ? ok(nova.guests.all()) : guest(request, id)
    if (topic === 'servers') return servers(request, id)
    if (topic === 'nova' || topic === 'glance') return settings(request, topic)
    if (topic === 'managers') return managers(request, id)
    if (topic === 'fingerprint') return fingerprint(request)
    if (topic === 'evidence') return evidenceOf(request)
    throw new Wrong(404, `no ${request.path} here`)
  }

  return serve({
    service: 'control',
    port: options.port,
    faults,
    async handler(request) {
      try {
        return await route(request)
      } catch (error) {
        const status = error instanceof Wrong ? error.status : 400
        return { status, body: { error: error instanceof Error ? error.message : String(error) } }
      }
    },
  })
}

const ok = (body: unknown): Answer => ({ status: 200, body })

function need(query: URLSearchParams, name: string): string {
  const value = query.get(name)
  if (value === null) throw new Wrong(400, `${name} is needed`)
  return value
}

function readJson(request: Request): unknown {
  try {
    return JSON.parse(request.body.toString())
  } catch {
    throw new Wrong(400, 'the body must be JSON')
  }
}
