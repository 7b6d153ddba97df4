import { setTimeout as sleep } from 'node:timers/promises'
import type { Cluster, HalfMade } from './cluster.ts'
import { dashboardApi } from './dashboard-api.ts'
import { type DashboardUser, openAccounts } from './dashboard-auth.ts'
import { managerLife, type ManagerLife, type SlowOperation } from './dashboard-life.ts'
import { type Answer, type Faults, type Request, serve } from './http.ts'
import type { LoadGauge } from './load.ts'
import { openRbdTasks } from './rbd-tasks.ts'

export type { DashboardUser, Scopes } from './dashboard-auth.ts'

interface Manager {
  name: 'x' | 'y'
  port: number
  service: Awaited<ReturnType<typeof serve>> | null
  /** starting: on its way from standby to active */
  role: 'active' | 'standby' | 'starting' | 'down'
  life: ManagerLife | null
}

/** A standby that becomes active answers everything with its page for this long (16.2). */
const startingMs = 400

/**
 * Two Ceph managers, x and y, and the dashboard of the active one. Faults are for the service `dashboard`.
 * A manager that was killed comes back as a standby `respawnMs` after the other has taken over.
 */
export async function startDashboards(options: {
  cluster: Cluster
  /** 0: any free one */
  ports: [number, number]
  faults: Faults
  load?: LoadGauge
  users: DashboardUser[]
  dataDir: string
  /** 2 s for most calls and twice that for edits, as in 16.2 */
  heldMs?: number
  /** `mon_mgr_beacon_grace` and a little: 33 s were seen */
  takeoverMs: number
  /** after `ceph mgr fail` */
  failoverMs?: number
  respawnMs?: number
  tokenTtlS?: number
}) {
  const { cluster, faults, takeoverMs, failoverMs = 1500, respawnMs = 7000, heldMs = 2000 } = options
  const accounts = await openAccounts(options.dataDir, options.users, options.tokenTtlS ?? 28_800)
  const api = dashboardApi(cluster, accounts, { shortly: heldMs, longer: heldMs * 2 })
  const tasks = openRbdTasks(cluster, options.dataDir)
  const slowMs = new Map<SlowOperation, number>()
  const closing = new AbortController()

  const x: Manager = { name: 'x', port: options.ports[0], service: null, role: 'down', life: null }
  const y: Manager = { name: 'y', port: options.ports[1], service: null, role: 'down', life: null }
  let lastActive = x

  function url(manager: Manager): string {
    return `http://127.0.0.1:${manager.port}`
  }

  function answer(manager: Manager, request: Request): Promise<Answer> | Answer {
    if (manager.life?.isAlive()) return api(request, manager.life)
    return manager.role === 'starting' ? startingPage() : redirect(`${url(lastActive)}/`)
  }

  async function listen(manager: Manager) {
    const handler = (request: Request) => answer(manager, request)
    const { load } = options
    const service = await serve({ service: 'dashboard', port: manager.port, faults, handler, ...(load && { load }) })
    // an idle connection is closed after about 10 s
    service.server.keepAliveTimeout = 10_000
    Object.assign(manager, { service, port: service.port, role: 'standby' })
  }

  function activate(manager: Manager) {
    manager.role = 'active'
    lastActive = manager
    const kill = () => {
      if (manager.life === life) void dies(manager, takeoverMs)
    }
    const life = managerLife({
      name: manager.name,
      slowMs: (operation) => slowMs.get(operation) ?? 0,
      kill,
      events: tasks.events,
    })
    manager.life = life
    tasks.takeOver(life)
  }

  async function wait(ms: number) {
    await sleep(ms, undefined, { signal: closing.signal })
  }

  /**
   * Its connections are reset, its port refuses, its tasks are lost; then the other one takes over and it comes back.
   */
  async function dies(manager: Manager, handoverMs: number) {
    const other = manager === x ? y : x
    manager.life?.end()
    manager.life = null
    manager.role = 'down'
    const closed = manager.service?.close()
    try {
      const pageMs = Math.min(startingMs, handoverMs / 2)
      await wait(handoverMs - pageMs)
      if (other.role === 'standby') other.role = 'starting'
      await wait(pageMs)
      if (other.role === 'starting') activate(other)
      await wait(respawnMs)
      await closed
      await listen(manager)
      if (closing.signal.aborted) return void manager.service?.close()
      if (other.role === 'down') activate(manager)
    } catch (error) {
      if (!closing.signal.aborted) throw error
    }
  }

  await listen(x)
  await listen(y)
  activate(x)

  return {
    urls: [url(x), url(y)],
    active: () => lastActive.name,
    tasks,

    /** `ceph mgr fail` */
    failover() {
      if (lastActive.life) void dies(lastActive, failoverMs)
    },
    /**
     * kill -9 of the active manager; with `halfMadeClone` in the middle of the clone under way, or else of the next
     * one.
     */
    killActive({ halfMadeClone }: { halfMadeClone?: HalfMade } = {}) {
      if (halfMadeClone) lastActive.life?.dieInClone(halfMadeClone)
      else if (lastActive.life) void dies(lastActive, takeoverMs)
    },
    /** Each object of a flatten or a copy, or a clone as a whole, takes that long; 0 again for as fast as can be. */
    slow: (operation: SlowOperation, perObjectMs: number) => void slowMs.set(operation, perObjectMs),
    /** `ceph dashboard ac-user-enable` and `ac-user-disable`; either voids the user's tokens. */
    setUserEnabled: accounts.setEnabled,

    async close() {
      closing.abort()
      for (const manager of [x, y]) {
        manager.life?.end()
        await manager.service?.close()
      }
      accounts.close()
      tasks.close()
    },
  }
}

/** Path and method are lost, and no token is looked at. */
function redirect(location: string): Answer {
  const body = `This resource can be found at <a href='${location}'>${location}</a>.`
  return { status: 303, headers: { location, 'content-type': 'text/html;charset=utf-8' }, body }
}

function startingPage(): Answer {
  const words = 'No active ceph-mgr instance is currently running the dashboard. A failover may be in progress.'
  const body = `<html><head><title>Ceph</title><meta http-equiv="refresh" content="5"></head><body>${words} Retrying in 5 seconds...</body></html>`
  return { status: 200, headers: { 'content-type': 'text/html;charset=utf-8' }, body }
}
