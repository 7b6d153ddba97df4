import { createServer } from 'node:net'
import type { AddressInfo } from 'node:net'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { readBusUrl } from '../../shared/adapters/bus-url.ts'
import { cephDashboard } from '../../shared/adapters/ceph-dashboard.ts'
import { glance } from '../../shared/adapters/glance.ts'
import { guestNovaRpc } from '../../shared/adapters/guest-nova-rpc.ts'
import { keystone, type Credentials, type Identity } from '../../shared/adapters/keystone.ts'
import { decodeReply } from '../../shared/adapters/nova-rpc.ts'
import { novaRpc } from '../../shared/adapters/nova-rpc-bus.ts'
import { replyOf } from '../../shared/adapters/rbd-process.ts'
import { blacken } from '../../shared/blacken.ts'
import { readConfig } from '../../shared/config.ts'
import { Failure } from '../../shared/failures.ts'
import { verdictProperties } from '../../shared/image-record.ts'
import { noteSecret } from '../../shared/known-secrets.ts'
import { leaksIn } from '../support/canaries.ts'
import { json, scriptedService, type ScriptedService } from '../support/scripted-service.ts'
import { consistency, image, instance, project, server } from './given.ts'

const clock = { nowMs: () => 0 }
const signal = () => AbortSignal.timeout(10_000)
const canary = (what: string) => `canary "${what}" päss\\/%+`

let service: ScriptedService
beforeAll(async () => {
  service = await scriptedService()
})
afterAll(() => service.close())

/** Everything of a failure that is shown, kept or logged. */
async function saidOf(act: Promise<unknown>): Promise<string> {
  const error = await act.then(
    () => new Error('it did not fail'),
    (reason: unknown) => reason,
  )
  expect(error).toBeInstanceOf(Failure)
  const { message, words, code } = error as Failure
  const properties = verdictProperties(consistency, { road: 'upload', usableMs: 1, why: [`${code}: ${words}`] })
  return JSON.stringify([message, words, properties])
}

/** The page of a proxy that shows what it was asked with. */
const echo =
  (status: number): Parameters<ScriptedService['answer']>[0] =>
  (request, response) => {
    const { headers, body } = service.asked.at(-1) ?? {}
    const secrets = [body, ...Object.values(headers ?? {})].join(' ')
    const page = `${secrets} ${encodeURIComponent(String(headers?.['x-auth-token']))} of ${request.url ?? ''}`
    response.writeHead(status, { 'content-type': 'text/html' }).end(page)
  }

describe('a secret that a service quotes back', () => {
  const user = { username: 'u', projectName: 'p' }
  const application = { applicationCredentialId: 'i', applicationCredentialSecret: canary('application') }

  it.each<[string, Partial<Credentials>]>([
    ['the password', { ...user, password: canary('password') }],
    ['an application credential', application],
  ])('is in no words: Keystone and %s', async (_what, credentials) => {
    service.answer(echo(400))
    const said = await saidOf(keystone({ authUrl: service.url, ...credentials }, clock).token(signal()))
    expect(service.asked[0]?.body).toContain('canary')
    expect(leaksIn(said, { password: canary('password'), application: canary('application') })).toEqual([])
  })

  it('is in no words: Glance and a token', async () => {
    const token = 'canary-token-that-no-pattern-knows'
    service.answer(json({ token: issued }, 201, { 'x-subject-token': token }))
    const identity = keystone({ authUrl: service.url, ...user, password: canary('password') }, clock)
    await identity.token(signal())
    service.answer(echo(500))
    const said = await saidOf(glance(identity, { endpoint: service.url }).find(image().id, signal()))
    expect(service.asked[0]?.headers['x-auth-token']).toBe(token)
    expect(leaksIn(said, { token })).toEqual([])
  })

  it("is in no words: the dashboard's token, also one that cannot be sent", async () => {
    const claims = Buffer.from('{"iat":0,"exp":28800}').toString('base64url')
    const dashboard = { urls: [service.url], user: 'u', password: canary('dashboard'), fsid: 'f', clock }
    for (const end of ['', '\r\nX-Injected: yes']) {
      const token = `canary-of-the-dashboard.${claims}.x${end}`
      service.answer((request, response) => {
        const isLogin = request.url === '/api/auth'
        const headers = { 'content-type': isLogin ? 'application/vnd.ceph.api.v1.0+json' : 'application/json' }
        response.writeHead(isLogin ? 201 : 400, headers)
        response.end(isLogin ? JSON.stringify({ token }) : `refused: ${String(request.headers.authorization)}`)
      })
      const said = await saidOf(cephDashboard(dashboard).find({ pool: 'vms', image: 'x' }, signal()))
      expect(leaksIn(said, { token: 'canary-of-the-dashboard' })).toEqual([])
    }
    service.answer(echo(400))
    expect(
      leaksIn(await saidOf(cephDashboard(dashboard).find({ pool: 'vms', image: 'x' }, signal())), {
        password: canary('dashboard'),
      }),
    ).toEqual([])
  })

  it("is in no words: what nova-compute's exception tells of its context", async () => {
    const message = `failed for {'auth_token': 'canary-of-a-context', 'user': 'u'} at rabbit://nova:canary-of-the-bus@c/`
    const failure = JSON.stringify({ class: 'X', message })
    const inner = JSON.stringify({ _msg_id: 'x', failure, ending: true })
    const { reply } = decodeReply(Buffer.from(JSON.stringify({ 'oslo.message': inner })))
    const guest = guestNovaRpc(async () => reply, { find: async () => server() })
    const said = await saidOf(guest.reach({ instance, host: 'h' }, signal()))
    expect(leaksIn(said, { context: 'canary-of-a-context', bus: 'canary-of-the-bus' })).toEqual([])
  })

  it('is in no words: the bus that nobody serves, or that somebody else does', async () => {
    const talker = createServer((socket) => socket.on('error', () => undefined).end('HTTP/1.1 400 Bad Request\r\n\r\n'))
    await new Promise<void>((done) => talker.listen(0, '127.0.0.1', done))
    for (const port of [1, (talker.address() as AddressInfo).port]) {
      const bus = readBusUrl(`rabbit://nova:${encodeURIComponent(canary('bus'))}@127.0.0.1:${port}/`)
      const rpc = novaRpc({ bus, exchange: 'nova', timeoutMs: 3_000 })
      const said = await saidOf(rpc('h', { method: 'quiesce_instance', version: '6.0', instance }, signal()))
      expect(leaksIn(said, { bus: canary('bus') })).toEqual([])
    }
    talker.close()
  })

  it("is in no words: a location in another store, with that store's keys", async () => {
    const location = 's3+https://AKIAEXAMPLE:canary/of-a-store@s3.example/bucket/x'
    const other = 'swift+https://tenant%3Auser:canary-of-swift@keystone.example/v3/c/x'
    const shown = { ...anImage, status: 'active', size: 5, locations: [{ url: location }, { url: other }] }
    service.answer(json(shown))
    const register = glance(anybody, { endpoint: service.url }).ensureLocation(
      image().id,
      'rbd://f/p/i/snap',
      5,
      signal(),
    )
    expect(leaksIn(await saidOf(register), { s3: 'canary/of-a-store', swift: 'canary-of-swift' })).toEqual([])
  })

  it('is in no words: an address in the catalogue with a password', async () => {
    const endpoints = [{ interface: 'public', url: 'http://admin:canary-of-a-catalogue@127.0.0.1:1/' }]
    const catalog = [{ type: 'image', endpoints }]
    service.answer(json({ token: { ...issued, catalog } }, 201, { 'x-subject-token': 'a-token-of-none' }))
    const identity = keystone({ authUrl: service.url, ...user, password: canary('password') }, clock)
    expect(
      leaksIn(await saidOf(glance(identity).find(image().id, signal())), { url: 'canary-of-a-catalogue' }),
    ).toEqual([])
  })

  it('is in no words: a cephx key that a command prints', () => {
    const key = `AQ${'x'.repeat(36)}==`
    const reply = replyOf('vms/x', { code: 22, stderr: `auth: unable to use key ${key} of client.rbdsnap\n` })
    expect(leaksIn(JSON.stringify(reply), { key })).toEqual([])
  })
})

describe('a setting', () => {
  it.each(['OS_AUTH_URL', 'RBDSNAP_CEPH_URLS', 'RBDSNAP_QUEUE_PREFIX'])('%s has no password in its URL', (name) => {
    const read = () => readConfig({ [name]: 'https://u:canary-of-a-url@h/' })
    expect(read).toThrow(name)
    expect(read).not.toThrow('canary')
    expect(read).toThrow('must have no user and no password in it')
  })
})

describe('what the process knows to be a secret', () => {
  it('is taken out in every form that a service may quote it in', () => {
    const value = canary('forms')
    noteSecret(value)
    const forms = [value, JSON.stringify(value), JSON.stringify(JSON.stringify(value)), encodeURIComponent(value)]
    forms.push(Buffer.from(value).toString('base64'), Buffer.from(value).toString('base64url'))
    for (const form of forms) expect(leaksIn(blacken(`a ${form} b`), { value })).toEqual([])
  })

  it('is left alone when it is so short that its absence would tell it', () => {
    noteSecret('lab')
    expect(blacken('available')).toBe('available')
  })
})

const issued = { issued_at: '2026-11-23T10:00:00Z', expires_at: '2026-11-23T11:00:00Z', user: { id: 'u' } }
const anybody: Identity = {
  token: () => Promise.resolve('a-token-of-none'),
  forget: () => undefined,
  endpoint: () => Promise.reject(new Error('no endpoint was expected')),
  user: () => Promise.resolve('u'),
}
const anImage = {
  id: image().id,
  name: 'n',
  status: 'queued',
  owner: project,
  protected: false,
  created_at: '2026-11-23T10:00:00Z',
  updated_at: '2026-11-23T10:00:00Z',
}
