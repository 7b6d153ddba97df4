import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { openPatient, type Patient } from './given-doctor.ts'

let patient: Patient
beforeAll(async () => {
  patient = await openPatient()
})
afterEach(() => {
  patient.cloud.faults.clear()
  patient.cloud.glance.set({ showLocations: { public: false, internal: true }, hasLocationApi: false })
})
afterAll(() => patient.close())

const asTenant = { OS_USERNAME: 'tenant', OS_PROJECT_NAME: 'tenant' }

/** The only finding of a check. */
async function asked(check: string, env: Record<string, string | undefined> = {}) {
  const found = await patient.ask(check, env)
  expect(found).toHaveLength(1)
  return found[0]
}
function answers(service: string, path: string, status: number, body: unknown) {
  patient.cloud.faults.add({ service, path, when: 'before', does: { is: 'answer', status, body }, times: 9 })
}

describe('doctor on Keystone', () => {
  it('sees a token', async () => {
    expect(await asked('keystone token')).toMatchObject({ status: 'ok', remedy: null })
  })

  it('sees a wrong password, and asks nothing that needs a token', async () => {
    const wrong = { OS_PASSWORD: 'not-the-password' }
    expect(await asked('keystone token', wrong)).toMatchObject({ status: 'fail' })
    expect((await asked('keystone token', wrong))?.detail).toContain('KEYSTONE_REFUSED')
    expect(await asked('glance locations', wrong)).toMatchObject({ status: 'warn', detail: 'not asked: first glance' })
  })

  it('sees that nobody is there', async () => {
    const found = await asked('keystone token', { OS_AUTH_URL: 'http://127.0.0.1:9/v3' })
    expect(found?.detail).toContain('KEYSTONE_UNREACHABLE')
  })

  it('sees a user who is no admin', async () => {
    expect(await asked('keystone roles')).toMatchObject({ status: 'ok' })
    const found = await asked('keystone roles', asTenant)
    expect(found).toMatchObject({ status: 'fail', detail: 'tenant in tenant has member, reader: not admin' })
  })

  it('sees a password that is about to expire', async () => {
    const soon = new Date(Date.now() + 86_400_000).toISOString()
    const user = { name: 'rbdsnap', password_expires_at: soon }
    patient.cloud.faults.add({
      service: 'keystone',
      method: 'GET',
      path: '/auth/tokens',
      when: 'before',
      does: { is: 'answer', status: 200, body: { token: { roles: [{ name: 'admin' }], user } } },
      times: 1,
    })
    expect(await asked('keystone roles')).toMatchObject({ status: 'warn' })
  })

  it('sees a region without endpoints', async () => {
    expect(await asked('keystone catalogue')).toMatchObject({ status: 'ok' })
    expect(await asked('keystone catalogue', { OS_REGION_NAME: 'Elsewhere' })).toMatchObject({ status: 'fail' })
  })
})

describe('doctor on Glance', () => {
  it('sees that it answers, and that it does not', async () => {
    expect(await asked('glance')).toMatchObject({ status: 'ok' })
    answers('glance', '/v2/images', 503, 'busy')
    expect((await asked('glance'))?.detail).toContain('GLANCE_UNREACHABLE')
  })

  it('sees whether the pool is a store of its', async () => {
    expect(await asked('glance store')).toMatchObject({ status: 'ok' })
    const found = await asked('glance store', { RBDSNAP_GLANCE_POOL: 'vms' })
    expect(found).toMatchObject({ status: 'fail', detail: 'no store has the pool vms: rbd (rbd images)' })
    answers('glance', '/stores/detail', 404, '')
    expect(await asked('glance store')).toMatchObject({ status: 'warn' })
  })

  it('sees hidden locations, and the other way to add one', async () => {
    expect(await asked('glance locations')).toMatchObject({ status: 'ok' })
    patient.cloud.glance.set({ showLocations: { public: false, internal: false } })
    expect(await asked('glance locations')).toMatchObject({ status: 'fail' })
    patient.cloud.glance.set({ hasLocationApi: true })
    expect(await asked('glance locations')).toMatchObject({ status: 'ok', detail: 'hidden, and can be added by POST' })
  })

  it('sees that POST is not for us without the role service', async () => {
    patient.cloud.glance.set({ showLocations: { public: false, internal: false }, hasLocationApi: true })
    const user = { name: 'rbdsnap', password_expires_at: null }
    patient.cloud.faults.add({
      service: 'keystone',
      method: 'GET',
      path: '/auth/tokens',
      when: 'before',
      does: { is: 'answer', status: 200, body: { token: { roles: [{ name: 'admin' }], user } } },
      times: 1,
    })
    expect(await asked('glance locations')).toMatchObject({ status: 'fail' })
  })

  it('sees a public endpoint that shows locations to tenants', async () => {
    expect(await asked('glance public endpoint')).toMatchObject({ status: 'ok' })
    patient.cloud.glance.set({ showLocations: { public: true, internal: true } })
    expect(await asked('glance public endpoint')).toMatchObject({ status: 'warn' })
  })

  it('sees that its images are in another cluster', async () => {
    expect(await asked('same cluster')).toMatchObject({ status: 'ok' })
    const other = { RBDSNAP_CEPH_FSID: '00000000-1111-4222-8333-444444444444' }
    expect(await asked('same cluster', other)).toMatchObject({ status: 'fail' })
  })

  it('cannot see a cluster without an image', async () => {
    answers('glance', '/v2/images', 200, { images: [] })
    expect((await asked('glance locations'))?.detail).toMatch(/^not asked: /)
    expect((await asked('same cluster'))?.detail).toMatch(/^not asked: /)
  })

  it('finds the cluster by locations that only the locations API shows', async () => {
    patient.cloud.glance.set({ showLocations: { public: false, internal: false }, hasLocationApi: true })
    expect(await asked('same cluster')).toMatchObject({ status: 'ok' })
  })
})

describe('doctor on Nova', () => {
  it('sees servers of all projects', async () => {
    expect(await asked('nova servers')).toMatchObject({ status: 'ok' })
    expect(await asked('nova servers', asTenant)).toMatchObject({ status: 'fail' })
  })

  it('sees a Nova that is too old', async () => {
    const message = 'Version 2.79 is not supported by the API. Minimum is 2.1 and maximum is 2.72.'
    answers('nova', '/servers', 406, { computeFault: { code: 406, message } })
    expect((await asked('nova servers'))?.detail).toContain('maximum is 2.72')
  })

  it('sees that a policy hides what a run needs', async () => {
    answers('nova', '/servers', 200, { servers: [{ id: 'a', tags: [] }] })
    expect((await asked('nova servers'))?.detail).toBe('Nova hides host of servers')
  })

  it('sees computes that are down', async () => {
    expect(await asked('nova computes')).toMatchObject({ status: 'ok', detail: '1 up: compute-01' })
    answers('nova', '/os-services', 200, { services: [{ host: 'compute-01', state: 'down', status: 'enabled' }] })
    expect((await asked('nova computes'))?.detail).toContain('1 down: compute-01')
    patient.cloud.faults.clear()
    expect((await asked('nova computes', asTenant))?.detail).toMatch(/^not asked: /)
  })
})
