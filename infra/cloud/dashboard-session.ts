import { poolFull } from './ceph-health.ts'
import type { Cluster } from './cluster.ts'
import { DashboardError } from './dashboard-errors.ts'
import { type Route, text, textOrNull } from './dashboard-route.ts'

/** Logging in and out, and what needs no more than a login. */
export function sessionRoutes(cluster: Cluster): Route[] {
  return [
    {
      method: 'POST',
      path: 'auth',
      python: 'Auth.create',
      isOpen: true,
      status: 201,
      required: ['username', 'password'],
      async run({ args, accounts }) {
        const username = text(args, 'username')
        const session = await accounts.logIn(username, text(args, 'password'))
        if (!session)
          throw new DashboardError('Invalid credentials', { code: 'invalid_credentials', component: 'auth' })
        const { token, scopes } = session
        return { token, username, permissions: scopes, pwdExpirationDate: null, sso: false, pwdUpdateRequired: false }
      },
      headers: (_, value) => ({
        'set-cookie': `token=${(value as { token: string }).token}; HttpOnly; Path=/; SameSite=Strict`,
      }),
    },
    {
      method: 'POST',
      path: 'auth/logout',
      python: 'Auth.logout',
      isOpen: true,
      allowsEmpty: true,
      run({ accounts, token }) {
        if (token !== undefined) accounts.logOut(token)
        return { redirect_url: '#/login' }
      },
    },
    {
      // 200 for a good and for a bad token; only a good one has a username
      method: 'POST',
      path: 'auth/check',
      python: 'Auth.check',
      isOpen: true,
      allowsEmpty: true,
      required: ['token'],
      run({ args, accounts }) {
        const user = accounts.whose(text(args, 'token'))
        if (!user) return { login_url: '#/login', cluster_status: 'POST_INSTALLED' }
        return { username: user.name, permissions: user.scopes, sso: false, pwdUpdateRequired: false }
      },
    },
    {
      method: 'GET',
      path: 'task',
      python: 'Task.list',
      optional: ['name'],
      run: ({ args, life }) => life.tasks.list(textOrNull(args, 'name')),
    },
    {
      method: 'GET',
      path: 'summary',
      python: 'Summary.__call__',
      run: ({ life }) => ({
        health_status: 'HEALTH_OK',
        mgr_id: life.name,
        mgr_host: `http://127.0.0.1`,
        have_mon_connection: 'True',
        ...life.tasks.list(null),
        version: 'ceph version 16.2.15 (618f440892089921c3e944a991122ddc44e60516) pacific (stable)',
        rbd_mirroring: { warnings: 0, errors: 0 },
      }),
    },
    {
      method: 'GET',
      path: 'health/minimal',
      python: 'Health.minimal',
      run: () => ({ health: healthOf(cluster.fullPools()) }),
    },
    {
      method: 'GET',
      path: 'pool',
      python: 'Pool.list',
      needs: { scope: 'pool', permission: 'read' },
      run: () => cluster.pools().map((pool) => ({ pool_name: pool, application_metadata: ['rbd'] })),
    },
  ]
}

/** The monitors', each check with its name beside it. */
function healthOf(fullPools: string[]) {
  const check = poolFull(fullPools)
  if (!check) return { status: 'HEALTH_OK', checks: [], mutes: [] }
  return { status: check.severity, checks: [{ ...check, type: 'POOL_FULL' }], mutes: [] }
}
