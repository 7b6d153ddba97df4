import { randomInt } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { createServer, type AddressInfo, type Server } from 'node:net'

/**
 * Ports of 127.0.0.1 that nobody listens on, and that no connection is given either: a part that is started again needs its own
 * port again, and one out of the range for outgoing connections may be taken by then, for as long as that connection lasts.
 */
export async function freePorts(count: number): Promise<number[]> {
  const most = Math.max(firstOutgoingPort(), lowestPort + fewestPorts)
  const held: Server[] = []
  while (held.length < count) {
    const server = await listenOn(randomInt(lowestPort, most))
    if (server) held.push(server)
  }
  const ports = held.map((server) => (server.address() as AddressInfo).port)
  await Promise.all(held.map((server) => new Promise((done) => server.close(done))))
  return ports
}

const lowestPort = 20_000
const fewestPorts = 1_000

/** ip(7), ip_local_port_range; Linux's own where there is no /proc. */
export function firstOutgoingPort(): number {
  try {
    return Number(readFileSync('/proc/sys/net/ipv4/ip_local_port_range', 'utf8').trim().split(/\s+/)[0])
  } catch {
    return 32_768
  }
}

/** Null when somebody else has it. */
function listenOn(port: number): Promise<Server | null> {
  return new Promise((resolve) => {
    const server = createServer()
    server.once('error', () => resolve(null))
    server.listen(port, '127.0.0.1', () => resolve(server))
  })
}
