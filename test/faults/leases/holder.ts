import { connect, createServer, type Socket } from 'node:net'

/**
 * Stands on a byte stream between one engine and whom it asks (a guest's agent, the queue), and holds up one request: before it
 * is passed on, or its answer. Whoever is asked sees the client leave meanwhile, as qemu does when libvirt is through: an agent
 * serves one client at a time.
 */
export interface Holder {
  at: string | number
  /** The next request that says this is held up. */
  arm: (words: string, when: 'before' | 'after') => void
  held: () => number
  release: () => void
  close: () => Promise<void>
}

/** @param at a path for a unix socket, 0 for a port; @param to where the other one listens */
export async function holder(at: string | number, to: string | number): Promise<Holder> {
  const armed: { words: string; when: 'before' | 'after' }[] = []
  const waiting: (() => void)[] = []
  const sockets = new Set<Socket>()

  function serve(client: Socket): void {
    let other = reach(client, answered)
    /** asked and not answered yet: a request may come in pieces */
    let asked: Buffer[] = []
    let isHeld = false
    function answered() {
      asked = []
    }
    function goOn(then: () => void) {
      waiting.push(() => {
        other = reach(client, answered)
        isHeld = false
        then()
      })
    }
    client.on('data', (bytes: Buffer) => {
      asked.push(bytes)
      if (isHeld) return
      const found = armed.findIndex(({ words }) => Buffer.concat(asked).includes(words))
      if (found < 0) return void other.write(bytes)
      const [hold] = armed.splice(found, 1)
      isHeld = true
      other.removeAllListeners('data')
      if (hold?.when === 'before') {
        other.destroy()
        return goOn(() => other.write(Buffer.concat(asked)))
      }
      other.write(bytes)
      other.once('data', (answer: Buffer) => {
        answered()
        other.destroy()
        goOn(() => client.write(answer))
      })
    })
    client.on('close', () => other.destroy())
  }

  function reach(client: Socket, answered: () => void): Socket {
    const other = typeof to === 'number' ? connect(to, '127.0.0.1') : connect(to)
    sockets.add(other)
    other.on('data', (bytes: Buffer) => {
      answered()
      client.write(bytes)
    })
    other.on('error', () => client.destroy())
    other.on('end', () => client.end())
    return other
  }

  const server = createServer((client) => {
    sockets.add(client)
    client.on('error', () => client.destroy())
    serve(client)
  })
  await new Promise<void>((done) => {
    if (typeof at === 'number') server.listen(at, '127.0.0.1', done)
    else server.listen(at, done)
  })
  const address = server.address()
  return {
    at: typeof address === 'object' && address !== null ? address.port : at,
    arm: (words, when) => void armed.push({ words, when }),
    held: () => waiting.length,
    release: () => waiting.splice(0).forEach((go) => go()),
    close: () =>
      new Promise((done) => {
        server.close(() => done())
        for (const socket of sockets) socket.destroy()
      }),
  }
}
