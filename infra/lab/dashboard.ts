import { writeFileSync } from 'node:fs'
import { ceph, folderOf, type Cluster } from './ceph.ts'
import { host, ports, urls } from './ports.ts'
import { eventually } from './ready.ts'
import { secretOf } from './secrets.ts'

/** Read by the module when it starts, so set before the first manager does. */
export async function setDashboard(cluster: Cluster): Promise<void> {
  const settings = {
    'mgr/dashboard/ssl': 'false',
    'mgr/dashboard/server_addr': host,
    'mgr/dashboard/x/server_port': String(ports.dashboards.x),
    'mgr/dashboard/y/server_port': String(ports.dashboards.y),
  }
  for (const [name, value] of Object.entries(settings))
    await ceph(cluster, ['config', 'set', '--force', 'mgr', name, value])
}

/** An active one asks for a token (401), one on standby leads to the active one (303). */
export const dashboardAnswers = (url: string) => async (): Promise<boolean> => {
  const answer = await fetch(`${url}/api/summary`, { redirect: 'manual', signal: AbortSignal.timeout(5_000) })
  await answer.body?.cancel()
  return answer.status === 401 || answer.status === 303
}

/** An administrator for the tests, and `gate`, whose role is docs/operate.md's. */
export async function makeDashboardUsers(cluster: Cluster): Promise<void> {
  const dashboard = (...args: string[]) => ceph(cluster, ['dashboard', ...args])
  // The module serves HTTP a little before it takes commands.
  await eventually(() => dashboard('ac-user-show').then(() => true), { withinMs: 60_000, everyMs: 1_000 })
  await dashboard('ac-role-delete', 'rbd-gate').catch(() => undefined)
  for (const user of ['admin', 'gate']) await dashboard('ac-user-delete', user).catch(() => undefined)
  await dashboard('ac-role-create', 'rbd-gate', 'snapshot gateway')
  await dashboard('ac-role-add-scope-perms', 'rbd-gate', 'rbd-image', 'read', 'create', 'update', 'delete')
  for (const [user, role] of [
    ['admin', 'administrator'],
    ['gate', 'rbd-gate'],
  ] as const) {
    const file = folderOf(cluster, `dashboard-${user}`)
    writeFileSync(file, secretOf(`dashboard-${user}`), { mode: 0o600 })
    await dashboard('ac-user-create', user, role, '--force-password', '-i', file)
    if (!(await eventually(() => canLogIn(user), { withinMs: 30_000 })))
      throw new Error(`the dashboard refuses ${user}`)
  }
}

async function canLogIn(username: string): Promise<boolean> {
  const answer = await fetch(`${urls.dashboardX}/api/auth`, {
    method: 'POST',
    headers: { accept: 'application/vnd.ceph.api.v1.0+json', 'content-type': 'application/json' },
    body: JSON.stringify({ username, password: secretOf(`dashboard-${username}`) }),
    signal: AbortSignal.timeout(5_000),
  })
  await answer.body?.cancel()
  return answer.status === 201
}
