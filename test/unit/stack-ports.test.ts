import { connect, createServer } from 'node:net'
import { once } from 'node:events'
import { expect, test } from 'vitest'
import { firstOutgoingPort, freePorts } from '../../infra/embedded/ports.ts'

test('a stack has ports that no outgoing connection is given while one of its parts is away', async () => {
  const ports = await freePorts(11)
  expect(new Set(ports).size).toBe(11)
  expect(ports.filter((port) => port >= firstOutgoingPort())).toEqual([])
})

test('where outgoing ports begin is where the kernel says', async () => {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as { port: number }
  const socket = connect({ host: '127.0.0.1', port })
  await once(socket, 'connect')
  expect(socket.localPort).toBeGreaterThanOrEqual(firstOutgoingPort())
  socket.destroy()
  server.close()
})
