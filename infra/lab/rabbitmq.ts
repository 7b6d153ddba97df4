import { connect } from 'amqplib'
import { mkdirSync, writeFileSync } from 'node:fs'
import { etc, inLab } from './folders.ts'
import { laidOver, writeIni } from './ini.ts'
import type { Part } from './part.ts'
import { host, ports, urls } from './ports.ts'
import { listens } from './ready.ts'
import { password, secretOf } from './secrets.ts'

const home = inLab('rabbitmq')
const pluginsFile = etc('rabbitmq', 'enabled_plugins')

/** Erlang's own port mapper: started by itself it would outlive RabbitMQ and belong to nobody. */
const epmd: Part = {
  name: 'epmd',
  needs: ['packages'],
  program: () => ({ argv: ['epmd', '-address', host, '-port', String(ports.epmd)], shows: 'epmd' }),
  isReady: listens(ports.epmd),
}

const rabbitmq: Part = {
  name: 'rabbitmq',
  needs: ['epmd'],
  program(settings) {
    mkdirSync(home, { recursive: true })
    const own = {
      'listeners.tcp.1': `${host}:${ports.rabbitmq}`,
      'management.tcp.ip': host,
      'management.tcp.port': ports.rabbitmqManagement,
      default_user: 'openstack',
      default_pass: password(),
      'default_user_tags.administrator': true,
      'disk_free_limit.absolute': '200MB',
      'log.console': true,
      'log.file': false,
    }
    const conf = writeIni(etc('rabbitmq', 'rabbitmq.conf'), laidOver({ '': own }, settings))
    writeFileSync(pluginsFile, '[rabbitmq_management].\n')
    writeFileSync(etc('rabbitmq', 'env.conf'), '')
    return {
      argv: ['/usr/lib/rabbitmq/bin/rabbitmq-server'],
      env: {
        HOME: home,
        ERL_EPMD_PORT: String(ports.epmd),
        RABBITMQ_NODENAME: 'rabbit@localhost',
        RABBITMQ_NODE_IP_ADDRESS: host,
        RABBITMQ_CONF_ENV_FILE: etc('rabbitmq', 'env.conf'),
        RABBITMQ_CONFIG_FILE: conf,
        RABBITMQ_ENABLED_PLUGINS_FILE: pluginsFile,
        RABBITMQ_MNESIA_BASE: `${home}/mnesia`,
        RABBITMQ_LOG_BASE: `${home}/log`,
        RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS: '-kernel inet_dist_use_interface {127,0,0,1}',
      },
      shows: 'rabbitmq-server',
    }
  },
  isReady: () => managed('GET', `health/checks/port-listener/${ports.rabbitmq}`).then(() => true),
}

/**
 * `rbdsnap` is the broker's user of docs/operate.md: its own queue and reply queues, and Nova's exchange, which it may bind to (read)
 * and send RPC through (write), never declare; of what goes through it, notifications and nova-compute only. The suites have
 * several queues of its own beside each other: `rbdsnap-...`.
 */
const users: Part = {
  name: 'rabbitmq-users',
  needs: ['rabbitmq'],
  async make() {
    await managed('PUT', 'users/rbdsnap', { password: secretOf('rabbitmq-rbdsnap'), tags: '' })
    const own = '^rbdsnap(-|$)|^reply_rbdsnap_'
    await managed('PUT', 'permissions/%2F/rbdsnap', {
      configure: own,
      write: `${own}|^nova$`,
      read: `${own}|^nova$`,
    })
    await managed('PUT', 'topic-permissions/%2F/rbdsnap', {
      exchange: 'nova',
      write: '^compute\\.',
      read: '^(versioned_)?notifications\\.',
    })
  },
}

export const bus: Part[] = [epmd, rabbitmq, users]

/** RabbitMQ's management API, as its administrator. @throws Error unless it says 2xx */
async function managed(method: string, path: string, body?: unknown): Promise<unknown> {
  const answer = await fetch(`${urls.rabbitmqManagement}/api/${path}`, {
    method,
    headers: {
      authorization: `Basic ${Buffer.from(`openstack:${password()}`).toString('base64')}`,
      'content-type': 'application/json',
    },
    body: body === undefined ? null : JSON.stringify(body),
    signal: AbortSignal.timeout(5_000),
  })
  const text = await answer.text()
  if (!answer.ok) throw new Error(`RabbitMQ: ${method} ${path}: ${answer.status} ${text}`)
  return text === '' ? undefined : (JSON.parse(text) as unknown)
}

/**
 * Does somebody take messages from it? That is when an OpenStack service that has no HTTP can serve. The broker itself is asked:
 * its management counts consumers every five seconds, and would show those of a service that was just killed.
 */
export const isConsumed = (queue: string) => async (): Promise<boolean> => {
  const connection = await connect(`amqp://openstack:${password()}@${host}:${ports.rabbitmq}/`)
  // A queue that is not there ends the channel.
  connection.on('error', () => undefined)
  try {
    const channel = await connection.createChannel()
    channel.on('error', () => undefined)
    return (await channel.checkQueue(queue)).consumerCount > 0
  } finally {
    await connection.close()
  }
}
