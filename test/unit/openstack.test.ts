import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterAll, beforeAll, expect, it } from 'vitest'
import type { Service } from '../../shared/adapters/http.ts'
import type { Identity } from '../../shared/adapters/keystone.ts'
import { openstack } from '../../shared/adapters/openstack.ts'

const nova: Service = { name: 'Nova', unreachable: 'NOVA_UNREACHABLE', refused: 'NOVA_REFUSED' }

/** Believes the first token, as keystonemiddleware does for five minutes after it was revoked; whoever it asks with it does not. */
const server = createServer((request, response) => {
  const isRevoked = request.headers['x-auth-token'] === 'token-1'
  response.writeHead(isRevoked ? 500 : 200, { 'content-type': 'application/json' }).end('{}')
})
let url = ''
beforeAll(async () => {
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done))
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
})
afterAll(() => void server.close())

it('a service that fails inside is asked with another token the next time', async () => {
  let nth = 1
  const identity: Pick<Identity, 'token' | 'forget'> = {
    token: async () => `token-${nth}`,
    forget: () => void (nth += 1),
  }
  const send = openstack(identity as Identity, nova, async () => url)
  const ask = () => send({ what: 'a server', method: 'GET', path: '/servers/1', signal: AbortSignal.timeout(5_000) })
  expect((await ask()).status).toBe(500)
  expect((await ask()).status).toBe(200)
})
