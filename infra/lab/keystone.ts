import { mkdirSync, rmSync } from 'node:fs'
import { command } from './command.ts'
import { etc, inLab, logOf } from './folders.ts'
import { laidOver, writeIni, type Ini } from './ini.ts'
import { databaseUrl, emptyDatabase } from './mariadb.ts'
import type { Part } from './part.ts'
import { host, ports, region, urls } from './ports.ts'
import type { Program } from './process.ts'
import { answers } from './ready.ts'
import { password } from './secrets.ts'

const keys = (kind: string) => inLab('keystone', kind)
const confFile = etc('keystone', 'keystone.conf')

const uncached = { caching: false }

const conf = (): Ini => ({
  database: { connection: databaseUrl('keystone') },
  fernet_tokens: { key_repository: keys('fernet') },
  credential: { key_repository: keys('credential') },
  // What hardly changes is looked up once: each answer asks for the project and the roles a dozen times. Who may sign in, which
  // tokens are revoked and where services are is read from the database each time, by the doors of test/lab as well: each process has a
  // cache of its own, and for ten minutes one told of a cloud without Neutron, as it had been while the lab was made.
  cache: { enabled: true, backend: 'dogpile.cache.memory' },
  ...Object.fromEntries(['token', 'revoke', 'application_credential', 'catalog'].map((part) => [part, uncached])),
  // Each password is a bcrypt of 12 rounds, 0.3 s of a core, unless told otherwise; the suites sign in hundreds of times.
  identity: { ...uncached, password_hash_rounds: 4 },
  oslo_messaging_notifications: { driver: 'noop' },
})

export const keystone: Part = {
  name: 'keystone',
  needs: ['mariadb'],
  async make() {
    await emptyDatabase('keystone')
    rmSync(inLab('keystone'), { recursive: true, force: true })
    for (const kind of ['fernet', 'credential']) mkdirSync(keys(kind), { recursive: true, mode: 0o700 })
    const file = writeIni(confFile, conf())
    const manage = (...args: string[]) =>
      command(['keystone-manage', '--config-file', file, ...args], {
        log: logOf('keystone'),
        withinMs: 300_000,
        env: { OS_BOOTSTRAP_PASSWORD: password() },
      })
    await manage('db_sync')
    const root = ['--keystone-user', 'root', '--keystone-group', 'root']
    await manage('fernet_setup', ...root)
    await manage('credential_setup', ...root)
    const endpoints = ['admin', 'internal', 'public'].flatMap((kind) => [`--bootstrap-${kind}-url`, urls.keystone])
    await manage('bootstrap', ...endpoints, '--bootstrap-region-id', region)
  },
  program(settings) {
    writeIni(confFile, laidOver(conf(), settings))
    const env = { OS_KEYSTONE_CONFIG_FILES: confFile, OS_KEYSTONE_CONFIG_DIR: etc('keystone') }
    return wsgi('/usr/bin/keystone-wsgi-public', ports.keystone, 2, env)
  },
  isReady: answers(urls.keystone),
}

/** uwsgi does not read what follows a request, so a connection is used once: a client that keeps it would meet a reset. */
export function wsgi(file: string, port: number, processes: number, env: Record<string, string>): Program {
  const listen = ['--http-socket', `${host}:${port}`, '--add-header', 'Connection: close', '--buffer-size', '65535']
  const workers = ['--processes', String(processes), '--threads', '2', '--enable-threads', '--master', '--lazy-apps']
  const rest = ['--die-on-term', '--disable-logging']
  return { argv: ['uwsgi_python3', ...listen, '--wsgi-file', file, ...workers, ...rest], env, shows: file }
}

/** How an OpenStack service signs in as `user`. */
export const signIn = (user: string): Ini[string] => ({
  auth_url: urls.keystone,
  auth_type: 'password',
  project_domain_name: 'Default',
  user_domain_name: 'Default',
  project_name: 'service',
  username: user,
  password: password(),
  region_name: region,
})
/** And how it checks the tokens of others. */
export const checkTokens = (user: string): Ini[string] => ({
  ...signIn(user),
  www_authenticate_uri: urls.keystone,
  service_token_roles_required: true,
})
