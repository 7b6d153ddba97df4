import { Failure } from '../failures.ts'
import { noteSecret } from '../known-secrets.ts'

/** Where a RabbitMQ is; a cluster has several nodes, any of which will do. */
export interface Bus {
  /** one a node, as amqplib takes them: amqp or amqps, always with a port and a virtual host */
  urls: string[]
  /** the nodes without credentials, for words and logs */
  nodes: string[]
}

const schemes = { 'rabbit:': 'amqp', 'kombu:': 'amqp', 'amqp:': 'amqp', 'amqps:': 'amqps' } as const
const isYes = (value: string | null) => ['1', 'true', 'yes', 'on'].includes((value ?? '').toLowerCase())

/**
 * Nova's own `[DEFAULT] transport_url`, as it is (`rabbit://USER:PASSWORD@HOST:5672,USER:PASSWORD@HOST:5672/VHOST?ssl=1`), or
 * amqp(s)://. As oslo.messaging reads it (TransportURL.parse): an empty virtual host is `/`, the port is 5672 also with TLS;
 * a node without credentials of its own takes the first one's.
 * @throws Failure BAD_SETTING, never with the value
 */
export function readBusUrl(text: string): Bus {
  const parts = /^(?<scheme>[a-z]+:)\/\/(?<hosts>[^/?#]+)(?:\/(?<vhost>[^?#]*))?(?:\?(?<query>[^#]*))?$/.exec(
    text,
  )?.groups
  const scheme = schemes[parts?.['scheme'] as keyof typeof schemes]
  // half of a surrogate pair can be in no URL: encodeURIComponent throws a URIError of its own
  if (!parts || !scheme || !text.isWellFormed()) throw wrong()
  const isSecure = scheme === 'amqps' || isYes(new URLSearchParams(parts['query']).get('ssl'))
  const vhost = encodeURIComponent(decoded(parts['vhost'] ?? '') || '/')
  const hosts = (parts['hosts'] ?? '').split(',').filter((host) => host !== '')
  const read = hosts.map((host) => readHost(host, scheme === 'amqps' ? 5671 : 5672))
  const shared = read.find((host) => host.credentials !== '')?.credentials ?? ''
  return {
    urls: read.map(
      ({ credentials, node }) => `${isSecure ? 'amqps' : 'amqp'}://${credentials || shared}${node}/${vhost}`,
    ),
    nodes: read.map(({ node }) => node),
  }
}

function readHost(text: string, port: number): { credentials: string; node: string } {
  const at = text.lastIndexOf('@')
  noteSecret(decoded(text.slice(0, Math.max(0, at)).split(/:(.*)/s, 2)[1] ?? ''))
  const node = /^(?:\[[\da-f:.]+\]|[\w.-]+)(?::(?<port>\d+))?$/i.exec(text.slice(at + 1))
  if (!node) throw wrong()
  return {
    credentials: at < 0 ? '' : `${text.slice(0, at).split(/:(.*)/s, 2).map(encoded).join(':')}@`,
    node: node.groups?.['port'] === undefined ? `${node[0]}:${String(port)}` : node[0],
  }
}

/** oslo takes a password with a stray `%` as it is. */
function decoded(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    return text
  }
}

const encoded = (text: string) => encodeURIComponent(decoded(text))

const wrong = () => new Failure('BAD_SETTING', 'must be rabbit://USER:PASSWORD@HOST:PORT[,...]/VHOST or amqp(s)://...')
