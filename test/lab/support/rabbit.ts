import { connect } from 'amqplib'
import { execFileSync, spawn } from 'node:child_process'
import { createHash, randomBytes, randomUUID } from 'node:crypto'
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { freePorts } from '../../../infra/embedded/ports.ts'
import { waitFor } from './wait.ts'

/** A RabbitMQ node of a test's own (Debian's rabbitmq-server), to be killed without harm to the cloud, with TLS beside plain AMQP. */
export interface Rabbit {
  /** as Nova's transport_url */
  url: string
  /** amqp:, for the test's own hands */
  amqp: string
  secureUrl: string
  /** the path of the authority that signed its certificate */
  ca: string
  /** a user with the rights of docs/operate.md and no others */
  bridgeUrl: string
  start: () => Promise<void>
  kill: () => Promise<void>
  remove: () => Promise<void>
}

const run = (program: string, ...args: string[]) => execFileSync(program, args, { stdio: 'pipe' }).toString().trim()

/** Patterns, as `rabbitmqctl set_permissions` takes them. */
interface Rights {
  configure: string
  write: string
  read: string
}

export async function ownRabbit(bridgeRights: Rights): Promise<Rabbit> {
  const folder = mkdtempSync(join(tmpdir(), 'rbdsnap-rabbit-'))
  const [port = 0, tlsPort = 0, distPort = 0, epmdPort = 0] = await freePorts(4)
  const password = randomBytes(12).toString('hex')
  const pidFile = join(folder, 'pid')
  certificates(folder)
  write(folder, { port, tlsPort, password, bridgeRights })
  const [uid, gid] = [Number(run('id', '-u', 'rabbitmq')), Number(run('id', '-g', 'rabbitmq'))]
  run('chown', '-R', 'rabbitmq:rabbitmq', folder)
  const node = `rbdsnap-test-${randomUUID().slice(0, 8)}@localhost`
  const env = {
    PATH: process.env['PATH'] ?? '',
    HOME: folder,
    RABBITMQ_NODENAME: node,
    RABBITMQ_CONFIG_FILE: join(folder, 'rabbitmq.conf'),
    RABBITMQ_CONF_ENV_FILE: join(folder, 'env.conf'),
    RABBITMQ_ENABLED_PLUGINS_FILE: join(folder, 'plugins'),
    RABBITMQ_MNESIA_BASE: join(folder, 'data'),
    RABBITMQ_LOG_BASE: join(folder, 'log'),
    RABBITMQ_PID_FILE: pidFile,
    RABBITMQ_DIST_PORT: String(distPort),
    // an epmd of its own: nothing is shared with the cloud's broker
    ERL_EPMD_PORT: String(epmdPort),
    ERL_EPMD_ADDRESS: '127.0.0.1',
    RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS: '-kernel inet_dist_use_interface {127,0,0,1}',
  }
  const amqp = `amqp://nova:${password}@127.0.0.1:${port}/`

  const rabbit: Rabbit = {
    url: amqp.replace(/^amqp/, 'rabbit'),
    amqp,
    secureUrl: `rabbit://nova:${password}@localhost:${tlsPort}/?ssl=1`,
    ca: join(folder, 'ca.pem'),
    bridgeUrl: `rabbit://bridge:${password}@127.0.0.1:${port}/`,
    async start() {
      const program = '/usr/lib/rabbitmq/bin/rabbitmq-server'
      const child = spawn(program, { env, uid, gid, cwd: folder, stdio: 'ignore', detached: true })
      child.unref()
      const isUp = () =>
        connect(amqp)
          .then((c) => c.close().then(() => true))
          .catch(() => false)
      await waitFor(`RabbitMQ on port ${port}`, isUp, Boolean, 90_000)
    },
    async kill() {
      const pid = existsSync(pidFile) ? Number(readFileSync(pidFile, 'utf8')) : 0
      if (pid > 0 && isAlive(pid)) process.kill(pid, 'SIGKILL')
      await waitFor(
        'RabbitMQ is gone',
        () => Promise.resolve(pid > 0 && isAlive(pid)),
        (alive) => !alive,
      )
      rmSync(pidFile, { force: true })
    },
    async remove() {
      await rabbit.kill()
      execFileSync('epmd', ['-kill'], { env, stdio: 'ignore' })
      rmSync(folder, { recursive: true, force: true })
    },
  }
  return rabbit
}

function certificates(folder: string): void {
  const at = (name: string) => join(folder, name)
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2']
  run('openssl', 'req', '-x509', ...key, '-subj', '/CN=a test', '-keyout', at('ca.key'), '-out', at('ca.pem'))
  const signed = ['-CA', at('ca.pem'), '-CAkey', at('ca.key'), '-addext', 'subjectAltName=DNS:localhost']
  run(
    'openssl',
    'req',
    '-x509',
    ...key,
    ...signed,
    '-subj',
    '/CN=localhost',
    '-keyout',
    at('key.pem'),
    '-out',
    at('cert.pem'),
  )
}

function write(folder: string, of: { port: number; tlsPort: number; password: string; bridgeRights: Rights }): void {
  chmodSync(folder, 0o700)
  for (const name of ['data', 'log']) mkdirSync(join(folder, name))
  const lines = [
    `listeners.tcp.1 = 127.0.0.1:${of.port}`,
    `listeners.ssl.1 = 127.0.0.1:${of.tlsPort}`,
    `ssl_options.cacertfile = ${join(folder, 'ca.pem')}`,
    `ssl_options.certfile = ${join(folder, 'cert.pem')}`,
    `ssl_options.keyfile = ${join(folder, 'key.pem')}`,
    `load_definitions = ${join(folder, 'definitions.json')}`,
    'disk_free_limit.absolute = 50MB',
  ]
  const users = ['nova', 'bridge'].map((name) => ({ name, password_hash: hashed(of.password), tags: '' }))
  const permissions = [
    { user: 'nova', vhost: '/', configure: '.*', write: '.*', read: '.*' },
    { user: 'bridge', vhost: '/', ...of.bridgeRights },
  ]
  const definitions = { vhosts: [{ name: '/' }], users, permissions }
  writeFileSync(join(folder, 'definitions.json'), JSON.stringify(definitions))
  writeFileSync(join(folder, 'rabbitmq.conf'), `${lines.join('\n')}\n`)
  writeFileSync(join(folder, 'plugins'), '[].')
  writeFileSync(join(folder, 'env.conf'), '')
}

/** RabbitMQ's own: base64 of a salt and SHA-256 over salt and password. */
function hashed(password: string): string {
  const salt = randomBytes(4)
  const digest = createHash('sha256').update(salt).update(password).digest()
  return Buffer.concat([salt, digest]).toString('base64')
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch {
    return false
  }
}
