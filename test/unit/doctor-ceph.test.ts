import { join } from 'node:path'
import { writeFileSync } from 'node:fs'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { projects, users } from '../../infra/cloud/world.ts'
import { login } from '../../infra/doctor/ceph.ts'
import { siteOf } from '../../infra/doctor/site.ts'
import { clock } from '../contract/embedded-cloud.ts'
import { openPatient, type Patient } from './given-doctor.ts'

let patient: Patient
beforeAll(async () => {
  patient = await openPatient()
})
afterEach(() => patient.cloud.faults.clear())
afterAll(() => patient.close())

const newServer = { project: projects.tenant, user: users.tenant, sizeGib: 1, agent: 'none' as const }

type Env = Record<string, string | undefined>
async function asked(check: string, env: Env = {}) {
  const found = await patient.ask(check, env)
  expect(found).toHaveLength(1)
  return found[0]
}
function answers(path: string, body: unknown) {
  const headers = { 'content-type': 'application/vnd.ceph.api.v1.0+json' }
  const does = { is: 'answer' as const, status: 200, headers, body }
  patient.cloud.faults.add({ service: 'dashboard', path, when: 'before', does, times: 9 })
}
const statuses = async (check: string, env: Env = {}) => (await patient.ask(check, env)).map(({ status }) => status)

describe('doctor on the Ceph managers', () => {
  it('sees which is active and which is on standby', async () => {
    const [x, y] = await patient.ask('ceph manager')
    expect([x, y]).toMatchObject([
      { check: `ceph manager ${patient.cloud.urls.dashboardX}`, status: 'ok', detail: 'active' },
      { check: `ceph manager ${patient.cloud.urls.dashboardY}`, status: 'ok', detail: 'on standby' },
    ])
  })

  it('sees one that does not answer, which matters less while another is active', async () => {
    const { dashboardX, dashboardY } = patient.cloud.urls
    expect(await statuses('ceph manager', { RBDSNAP_CEPH_URLS: `${dashboardX},http://127.0.0.1:9` })).toEqual([
      'ok',
      'warn',
    ])
    expect(await statuses('ceph manager', { RBDSNAP_CEPH_URLS: 'http://127.0.0.1:9' })).toEqual(['fail'])
    const found = await asked('ceph manager', { RBDSNAP_CEPH_URLS: dashboardY })
    expect(found).toMatchObject({ status: 'fail', remedy: `Put ${new URL(dashboardX).origin} into RBDSNAP_CEPH_URLS.` })
  })

  it('sees that something else answers', async () => {
    const found = await asked('ceph manager', { RBDSNAP_CEPH_URLS: patient.cloud.urls.nova })
    expect(found?.detail).toContain('is not a dashboard')
  })

  it('sees a wrong password', async () => {
    expect(await asked('ceph login')).toMatchObject({ status: 'ok', detail: 'gate is let in by Ceph 16.2.15' })
    const found = await asked('ceph login', { RBDSNAP_CEPH_PASSWORD: 'not-the-password' })
    expect(found?.detail).toContain('CEPH_REFUSED')
  })

  it('sees a Ceph that is too old', async () => {
    const site = siteOf(patient.env, clock)
    await login(site, AbortSignal.timeout(5_000))
    const body = { version: 'ceph version 15.2.17 (8a82819d84cf884bd39c17e3236e0632ac146dc4) octopus (stable)' }
    answers('/api/summary', body)
    expect(await login(site, AbortSignal.timeout(5_000))).toMatchObject({ status: 'fail' })
  })

  it('sees a role that is too small, and says how to make it larger', async () => {
    expect(await asked('ceph role')).toMatchObject({ status: 'ok' })
    const found = await asked('ceph role', { RBDSNAP_CEPH_USER: 'reader' })
    expect(found?.detail).toContain('create')
    expect(found?.detail).not.toContain('read;')
    expect(found?.remedy).toContain('ac-role-add-scope-perms')
  })

  it('sees pools that are not there', async () => {
    expect(await statuses('ceph pool')).toEqual(['ok', 'ok'])
    expect(await statuses('ceph pool', { RBDSNAP_NOVA_POOL: 'no-such-pool' })).toEqual(['fail', 'ok'])
  })

  it('sees the clone format', async () => {
    expect(await asked('ceph clone format')).toMatchObject({ status: 'ok' })
    answers('clone_format', '1')
    expect(await asked('ceph clone format')).toMatchObject({ status: 'warn' })
  })
})

describe('doctor where the gateway is by the command rbd', () => {
  const byRbd = { RBDSNAP_CEPH_GATEWAY: 'rbd', RBDSNAP_CEPH_URLS: '', RBDSNAP_CEPH_USER: '', RBDSNAP_CEPH_PASSWORD: '' }

  it('needs no manager and sees the same', async () => {
    expect(await asked('setting', byRbd)).toMatchObject({ status: 'ok' })
    expect(await asked('ceph manager', byRbd)).toMatchObject({ status: 'ok' })
    expect(await asked('ceph login', byRbd)).toMatchObject({
      status: 'ok',
      detail: 'the key is let in by Ceph 16.2.15',
    })
    expect(await asked('ceph role', byRbd)).toMatchObject({ status: 'ok' })
    expect(await statuses('ceph pool', byRbd)).toEqual(['ok', 'ok'])
  })

  it('sees a pool that is not there, and a program that is not', async () => {
    expect(await asked('ceph role', { ...byRbd, RBDSNAP_GLANCE_POOL: 'no-such-pool' })).toMatchObject({
      status: 'fail',
    })
    expect(await asked('ceph role', { ...byRbd, RBDSNAP_RBD_COMMAND: '/nowhere/rbd' })).toMatchObject({
      status: 'fail',
    })
  })
})

describe('doctor on the disks', () => {
  const onlyServer = (id: string) =>
    patient.cloud.faults.add({
      service: 'nova',
      path: '/servers',
      when: 'before',
      does: { is: 'answer', status: 200, body: { servers: [{ id, tags: [], 'OS-EXT-SRV-ATTR:host': 'compute-01' }] } },
      times: 9,
    })

  it('sees that they are in the pool, with layering', async () => {
    const { id } = await patient.cloud.factory.addServer({ ...newServer, name: 'with-layering', disk: 'flat' })
    onlyServer(id)
    const said = '1 of 1 servers looked at have their disk in vms, with layering'
    expect(await asked('ceph disks')).toMatchObject({ status: 'ok', detail: said })
  })

  it('sees one without layering', async () => {
    const { id } = await patient.cloud.factory.addServer({
      ...newServer,
      name: 'without-layering',
      disk: 'no-layering',
    })
    onlyServer(id)
    expect(await asked('ceph disks')).toMatchObject({ status: 'warn' })
  })

  it('sees that none is in the pool', async () => {
    expect(await asked('ceph disks', { RBDSNAP_NOVA_POOL: 'images' })).toMatchObject({ status: 'warn' })
  })
})

describe('doctor on ceph.conf', () => {
  it('sees that it is of the same cluster, and of another', async () => {
    expect(await statuses('ceph conf')).toEqual(['ok', 'ok'])
    const turned = { RBDSNAP_RBD_CONF: patient.env['RBDSNAP_RBD_OTHER_CONFS'], RBDSNAP_RBD_OTHER_CONFS: '' }
    expect(await asked('ceph conf', turned)).toMatchObject({ status: 'fail' })
    const twice = { RBDSNAP_RBD_OTHER_CONFS: patient.env['RBDSNAP_RBD_CONF'] }
    expect(await statuses('ceph conf', twice)).toEqual(['ok', 'fail'])
  })

  it('sees that it is not there', async () => {
    expect(await statuses('ceph conf', { RBDSNAP_RBD_CONF: '/nowhere/ceph.conf' })).toEqual(['fail', 'ok'])
  })
})

describe('doctor on the commands', () => {
  const rbd = (answers: Record<string, string>) => ({
    RBDSNAP_RBD_OTHER_CONFS: '',
    RBDSNAP_RBD_COMMAND: patient.program('rbd', { ...answers, ' ls vms': answers[' ls vms'] ?? 'echo' }),
  })
  const ceph = (answers: Record<string, string>) => ({
    ...rbd({}),
    RBDSNAP_CEPH_COMMAND: patient.program('ceph', {
      ...answers,
      fsid: answers['fsid'] ?? `echo ${patient.env['RBDSNAP_CEPH_FSID'] ?? ''}`,
      'rbd task list': answers['rbd task list'] ?? 'echo []',
    }),
  })
  const refuses = (words: string, code = 13) => `echo "Error ${words}" >&2; exit ${code}`

  it('sees rbd of every cluster', async () => {
    expect(await statuses('rbd command')).toEqual(['ok', 'ok'])
  })

  it('sees that rbd is not there', async () => {
    expect(
      await asked('rbd command', { RBDSNAP_RBD_OTHER_CONFS: '', RBDSNAP_RBD_COMMAND: '/nowhere/rbd' }),
    ).toMatchObject({
      status: 'fail',
    })
  })

  it('sees a key that may not read the pool', async () => {
    const found = await asked('rbd command', rbd({ ' ls vms': refuses('rbd: listing images failed', 1) }))
    expect(found).toMatchObject({ status: 'fail' })
    expect(found?.detail).toContain('profile rbd pool=vms')
  })

  it('sees that ceph is not there: flattens then end with their manager', async () => {
    const found = await asked('ceph command', { ...rbd({}), RBDSNAP_CEPH_COMMAND: '/nowhere/ceph' })
    expect(found).toMatchObject({ status: 'warn' })
  })

  it('sees that ceph answers for another cluster', async () => {
    expect(await asked('ceph command', ceph({}))).toMatchObject({ status: 'ok' })
    expect(await asked('ceph command', ceph({ fsid: 'echo 00000000-1111-4222-8333-444444444444' }))).toMatchObject({
      status: 'fail',
    })
  })

  it('sees a key that may not give the manager tasks', async () => {
    const found = await asked('ceph command', ceph({ 'rbd task list': refuses('EACCES: access denied') }))
    expect(found).toMatchObject({ status: 'warn', detail: 'ceph rbd task list: Error EACCES: access denied' })
  })

  it('sees what becomes of the disk of a deleted instance', async () => {
    const set = (value: string) =>
      rbd({
        'config pool ls': `echo '[{"name":"rbd_move_parent_to_trash_on_remove","value":"${value}","source":"config"}]'`,
      })
    expect(await asked('ceph parent to trash', set('true'))).toMatchObject({ status: 'ok' })
    expect(await asked('ceph parent to trash', set('false'))).toMatchObject({ status: 'warn' })
    expect((await asked('ceph parent to trash', rbd({})))?.detail).toMatch(/^not asked: /)
  })

  it('sees slow monitors', async () => {
    expect(await asked('ceph monitors', ceph({ 'config get mon': 'echo 1.000000' }))).toMatchObject({ status: 'ok' })
    expect(await asked('ceph monitors', ceph({ 'config get mon': 'echo 2.000000' }))).toMatchObject({ status: 'warn' })
    const refused = await asked('ceph monitors', ceph({ 'config get mon': refuses('EACCES: access denied') }))
    expect(refused?.detail).toMatch(/^not asked: .*EACCES/)
  })

  it.each([
    ['profile rbd pool=images, profile rbd pool=vms', 'ok'],
    ['profile rbd', 'ok'],
    ['allow *', 'ok'],
    ['allow rwx pool=vms', 'ok'],
    ['profile rbd pool=images', 'fail'],
    ['profile rbd pool=images, profile rbd-read-only pool=vms', 'fail'],
    ['profile rbd pool=vms2', 'fail'],
    ['allow class-read object_prefix rbd_children, allow rwx pool=images', 'fail'],
  ])('sees what Glance may do with %s', async (caps, status) => {
    const keyring = join(patient.folder, 'keyring')
    writeFileSync(
      keyring,
      `[client.glance]\n\tkey = AQDsecretsecret==\n\tcaps mon = "profile rbd"\n\tcaps osd = "${caps}"\n`,
    )
    const found = await asked('ceph caps of glance', ceph({ 'auth get client.glance': `cat ${keyring}` }))
    expect(found?.status).toBe(status)
    expect(JSON.stringify(found)).not.toContain('AQDsecret')
  })

  it('says how to look when only an administrator may', async () => {
    const found = await asked('ceph caps of glance', ceph({ 'auth get': refuses('EACCES: access denied') }))
    expect(found?.detail).toMatch(/^not asked: /)
    expect(found?.remedy).toContain('ceph auth get client.glance')
  })
})
