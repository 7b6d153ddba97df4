import { randomInt } from 'node:crypto'
import { createServer, type AddressInfo, type Server, type Socket } from 'node:net'
import { connect } from 'node:net'
import { pause } from './wait.ts'

/**
 * Stands between the queues and the functions, and holds each invocation back for a random time: as functions that start cold, in
 * a cloud that is busy. The delays come from a seed that is printed; RBDSNAP_STORY_SEED gives the same ones again.
 */
export interface Delays {
  port: number
  /** where the functions are; nothing gets through before that is known */
  leadTo(port: number): void
  upTo(ms: number): void
  close(): Promise<void>
}

export async function startDelays(): Promise<Delays> {
  const seed = Number(process.env['RBDSNAP_STORY_SEED'] ?? randomInt(2 ** 31))
  process.stdout.write(`random delays: RBDSNAP_STORY_SEED=${seed}\n`)
  let state = seed
  let longestMs = 0
  const target = Promise.withResolvers<number>()
  const sockets = new Set<Socket>()
  const nextMs = () => {
    // a linear congruential generator (Numerical Recipes): good enough to shake the order of things
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
    return Math.floor((state / 2 ** 32) * longestMs)
  }

  const server = createServer((from) => {
    void (async () => {
      const to = connect(await target.promise, '127.0.0.1')
      for (const [end, other] of [
        [from, to],
        [to, from],
      ] as const) {
        sockets.add(end)
        end.on('error', () => other.destroy())
        end.on('close', () => {
          sockets.delete(end)
          other.destroy()
        })
      }
      to.pipe(from)
      // A connection carries one invocation at a time: what comes after a silence is a new one.
      for await (const chunk of from) {
        await pause(nextMs())
        to.write(chunk as Buffer)
      }
      to.end()
    })().catch(() => from.destroy())
  })
  await listen(server)
  return {
    port: (server.address() as AddressInfo).port,
    leadTo: target.resolve,
    upTo(ms) {
      longestMs = ms
    },
    async close() {
      for (const socket of sockets) socket.destroy()
      await new Promise((done) => server.close(done))
    },
  }
}

function listen(server: Server): Promise<void> {
  return new Promise((done) => server.listen(0, '127.0.0.1', done))
}
