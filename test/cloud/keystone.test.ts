import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, describe, expect, it } from 'vitest'
import { faultList } from '../../infra/cloud/http.ts'
import { startKeystone } from '../../infra/cloud/keystone.ts'
import { openRecords } from '../../infra/cloud/records.ts'
import { call, client, passwordOf, type TokenBody } from './openstack-client.ts'
import { openScene } from './openstack-scene.ts'

const scene = await openScene()
const { home, cloud, tenant, service } = scene
afterAll(() => scene.close())

describe('Keystone', () => {
  const tokens = `${cloud.urls.keystone}/auth/tokens`

  it('gives a Fernet-shaped token with a catalogue for a password', async () => {
    const answer = await call<TokenBody>('POST', tokens, { body: passwordOf('rbdsnap', 'service') })
    expect(answer.status).toBe(201)
    expect(answer.headers.get('x-subject-token')).toMatch(/^gAAAAA[\w-]{177}$/)
    const { methods, roles, catalog, expires_at, issued_at } = answer.json.token
    expect(methods).toEqual(['password'])
    expect(roles.map((role) => role.name)).toEqual(['admin', 'service', 'member', 'reader'])
    expect(Date.parse(expires_at) - Date.parse(issued_at)).toBe(3_600_000)
    expect(catalog.map((entry) => entry.type)).toEqual(['identity', 'image', 'compute'])
    const compute = catalog[2]?.endpoints.find((endpoint) => endpoint.interface === 'public')
    expect(compute).toMatchObject({ region: 'RegionOne', url: cloud.urls.nova })
  })

  it('leaves the catalogue out when asked, and gives it by itself', async () => {
    const answer = await call<TokenBody>('POST', `${tokens}?nocatalog`, { body: passwordOf('tenant', 'tenant') })
    expect(answer.json.token).not.toHaveProperty('catalog')
    const headers = { 'x-auth-token': tenant.token }
    expect(
      (await call<TokenBody['token']>('GET', `${cloud.urls.keystone}/auth/catalog`, { headers })).json.catalog,
    ).toHaveLength(3)
  })

  it('answers the same 401 for a wrong password, a wrong user and a project without a role', async () => {
    const wrong = [passwordOf('tenant', 'tenant', 'no'), passwordOf('nobody', 'tenant'), passwordOf('tenant', 'other')]
    for (const body of wrong) {
      const answer = await call('POST', tokens, { body })
      expect(answer.status).toBe(401)
      const message = 'The request you have made requires authentication.'
      expect(answer.json).toEqual({ error: { code: 401, message, title: 'Unauthorized' } })
    }
  })

  it('takes an application credential without a scope only, with just the roles listed', async () => {
    const url = `${cloud.urls.keystone}/users/${service.userId}/application_credentials`
    const wish = { application_credential: { name: 'gate', roles: [{ name: 'admin' }] } }
    const made = await call<{ application_credential: { id: string; secret: string } }>('POST', url, {
      body: wish,
      headers: { 'x-auth-token': service.token },
    })
    expect(made.status).toBe(201)
    const { id, secret } = made.json.application_credential
    expect(secret).toHaveLength(86)
    const identity = { methods: ['application_credential'], application_credential: { id, secret } }
    const answer = await call<TokenBody>('POST', tokens, { body: { auth: { identity } } })
    expect(answer.status).toBe(201)
    expect(answer.json.token.roles.map((role) => role.name)).toEqual(['admin'])
    expect(answer.json.token.project.name).toBe('service')
    const scoped = { identity, scope: { project: { name: 'service', domain: { name: 'Default' } } } }
    const refused = await call('POST', tokens, { body: { auth: scoped } })
    expect(refused.json).toMatchObject({ error: { message: 'Application credentials cannot request a scope.' } })
    expect(refused.status).toBe(401)
  })

  it('takes a revoked token no more, while Glance still does from its cache', async () => {
    const one = await client(cloud.urls, 'tenant', 'tenant')
    expect((await one.glance('GET', '/images')).status).toBe(200)
    const headers = { 'x-auth-token': one.token, 'x-subject-token': one.token }
    expect((await call('HEAD', tokens, { headers })).status).toBe(200)
    expect((await call('DELETE', tokens, { headers })).status).toBe(204)
    expect((await call('GET', tokens, { headers })).status).toBe(401)
    expect((await one.glance('GET', '/images')).status).toBe(200)
    expect((await one.nova('GET', '/servers')).status).toBe(401)
  })

  it('lets tokens expire', async () => {
    const records = openRecords(join(home, 'keystone.db'))
    const none = { name: '', public: '', internal: '' }
    const catalog = () => ({ identity: none, image: none, compute: none })
    const keystone = await startKeystone({
      records,
      port: 0,
      faults: faultList(),
      tokenTtlMs: 40,
      region: 'R',
      catalog,
    })
    keystone.people.addProject({ id: 'p', name: 'p' })
    await keystone.people.addUser({ id: 'u', name: 'u', password: 'lab', roles: { p: ['member'] } })
    const answer = await call('POST', `${keystone.url}/auth/tokens`, { body: passwordOf('u', 'p') })
    const token = answer.headers.get('x-subject-token') ?? undefined
    const validate = keystone.validator()
    expect(validate(token)).toMatchObject({ userName: 'u', projectId: 'p', roles: ['member', 'reader'] })
    await sleep(60)
    expect(validate(token)).toBeNull()
    await keystone.close()
    records.close()
  })
})
