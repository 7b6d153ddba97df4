import { mkdirSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { sqlite } from '../../shared/adapters/sqlite.ts'
import { attributesOf, openPatient, type Patient } from './given-doctor.ts'

let patient: Patient
beforeAll(async () => {
  patient = await openPatient()
})
afterEach(() => patient.cloud.faults.clear())
afterAll(() => patient.close())

type Env = Record<string, string | undefined>
async function asked(check: string, env: Env = {}) {
  const found = await patient.ask(check, env)
  expect(found).toHaveLength(1)
  return found[0]
}

describe('doctor on the settings', () => {
  it('names each that is missing or wrong in a line of its own', async () => {
    expect(await asked('setting')).toMatchObject({ status: 'ok' })
    const found = await patient.ask('setting', { OS_AUTH_URL: '', RBDSNAP_FREEZE_BUDGET_MS: '31000' })
    expect(found).toMatchObject([
      { check: 'setting OS_AUTH_URL', status: 'fail', detail: 'is not set' },
      { check: 'setting RBDSNAP_FREEZE_BUDGET_MS', status: 'fail' },
    ])
  })

  it('asks on with those that can be read', async () => {
    const found = await patient.all({ OS_AUTH_URL: '', RBDSNAP_RBD_OTHER_CONFS: '' })
    const statusOf = (check: string) => found.find((finding) => finding.check === check)
    expect(statusOf('keystone token')).toMatchObject({ status: 'warn' })
    expect(statusOf('keystone token')?.detail).toBe('not asked: the setting OS_AUTH_URL is missing or wrong')
    for (const check of ['ceph login', 'ceph role', 'journal', 'queue'])
      expect(statusOf(check)?.status, check).toBe('ok')
  })

  it('does not count a stack yet to be started as wrong', async () => {
    const found = await patient.ask('setting', { RBDSNAP_JOURNAL: '', RBDSNAP_QUEUE_PREFIX: '' })
    expect(found.map(({ status }) => status)).toEqual(['ok'])
    expect((await patient.ask('setting', { RBDSNAP_JOURNAL: '' })).map(({ status }) => status)).toEqual(['fail'])
  })

  it('sees rules that cannot be read', async () => {
    expect(await asked('rules')).toMatchObject({ status: 'ok' })
    expect(await asked('rules', { RBDSNAP_RULES: '/nowhere/rules.json' })).toMatchObject({ status: 'warn' })
    expect(await asked('setting', { RBDSNAP_RULES: '/nowhere/rules.json' })).toMatchObject({ status: 'fail' })
  })
})

describe('doctor on the journal', () => {
  const at = (path: string) => ({ RBDSNAP_JOURNAL: `sqlite:${path}` })

  it('sees that it can be made, and makes nothing', async () => {
    expect((await asked('journal'))?.detail).toContain('is not there yet and can be made')
    expect((await asked('journal'))?.detail).toContain('is not there yet and can be made')
  })

  it('sees one that can be written', async () => {
    const path = join(patient.folder, 'good.sqlite')
    sqlite(path).close()
    expect(await asked('journal', at(path))).toMatchObject({ status: 'ok' })
  })

  it('sees a folder that is not there, a file of another kind, and one that somebody holds', async () => {
    expect(await asked('journal', at('/nowhere/journal.sqlite'))).toMatchObject({ status: 'fail' })
    const other = join(patient.folder, 'other.sqlite')
    writeFileSync(other, 'this is no database, however long it is')
    expect(await asked('journal', at(other))).toMatchObject({ status: 'fail' })
  })

  it('sees one that a newer rbdsnap wrote', async () => {
    const path = join(patient.folder, 'newer.sqlite')
    const database = new DatabaseSync(path)
    database.exec('PRAGMA user_version = 99')
    database.close()
    expect((await asked('journal', at(path)))?.detail).toContain('has format 99')
  })
})

describe('doctor on the queues', () => {
  it('sees all of them', async () => {
    expect(await asked('queue')).toMatchObject({ status: 'ok' })
  })

  it('sees that nobody answers', async () => {
    expect(await asked('queue', { AWS_ENDPOINT_URL_SQS: 'http://127.0.0.1:9' })).toMatchObject({ status: 'fail' })
  })

  it('sees one that is missing', async () => {
    patient.queues.deleteQueue('rbdsnap-clone')
    expect(await asked('queue')).toMatchObject({ check: 'queue clone', status: 'fail' })
    patient.queues.createQueue('rbdsnap-clone', { attributes: attributesOf('clone') })
  })

  it('sees one that shows a message again while it is worked on, and loses it in the end', async () => {
    patient.queues.deleteQueue('rbdsnap-thaw')
    patient.queues.createQueue('rbdsnap-thaw', { attributes: { VisibilityTimeout: '5' } })
    const found = await asked('queue')
    expect(found).toMatchObject({ check: 'queue thaw', status: 'warn' })
    expect(found?.detail).toMatch(/hides a message 5 s.*no dead-letter queue/)
    patient.queues.deleteQueue('rbdsnap-thaw')
    patient.queues.createQueue('rbdsnap-thaw', { attributes: attributesOf('thaw') })
  })
})

describe('doctor on the snapshots directory', () => {
  const withDisk = (disk: number) =>
    patient.cloud.faults.add({
      service: 'nova',
      path: '/servers',
      when: 'before',
      does: { is: 'answer', status: 200, body: { servers: [{ id: 'a', tags: [], flavor: { disk } }] } },
      times: 1,
    })

  it('sees that it is not set, and that we may not write there', async () => {
    expect(await asked('snapshots directory')).toMatchObject({ status: 'ok' })
    expect(await asked('snapshots directory', { RBDSNAP_SNAPSHOTS_DIRECTORY: '/nowhere' })).toMatchObject({
      status: 'fail',
    })
  })

  it('sees that it is large enough, and that it is not', async () => {
    const here = { RBDSNAP_SNAPSHOTS_DIRECTORY: patient.folder }
    withDisk(0)
    expect(await asked('snapshots directory', here)).toMatchObject({ status: 'ok' })
    withDisk(1_000_000_000)
    expect(await asked('snapshots directory', here)).toMatchObject({ status: 'warn' })
  })
})

describe('doctor on the clocks', () => {
  const clockAt = (aheadMs: number) => ({ nowMs: () => Date.now() + aheadMs })

  it('sees that they agree, and how far apart they are', async () => {
    expect(await asked('clocks')).toMatchObject({ status: 'ok' })
    expect(await patient.ask('clocks', {}, clockAt(-10_000))).toMatchObject([{ status: 'warn' }])
    expect(await patient.ask('clocks', {}, clockAt(-300_000))).toMatchObject([{ status: 'fail' }])
  })
})

describe('doctor on the bus', () => {
  it('cannot ask a bus that is not set', async () => {
    expect(await asked('bus')).toMatchObject({ status: 'warn', detail: 'not asked: RBDSNAP_BUS_URL is not set' })
  })

  it('sees that nobody answers, and asks it no more', async () => {
    const gone = { RBDSNAP_BUS_URL: 'rabbit://nova:pass-word@127.0.0.1:9/' }
    const found = await patient.ask('bus', gone)
    expect(found[0]).toMatchObject({ check: 'bus 127.0.0.1:9', status: 'fail' })
    expect(JSON.stringify(found)).not.toContain('pass-word')
    expect(await asked('bus exchange', gone)).toMatchObject({ status: 'warn', detail: 'not asked: first bus' })
    expect(await asked('bus queue', gone)).toMatchObject({ status: 'warn', detail: 'not asked: first bus' })
  })

  it('sees an address that is none', async () => {
    expect(await asked('bus', { RBDSNAP_BUS_URL: 'https://x' })).toMatchObject({ status: 'fail' })
  })
})

describe('doctor on the guests', () => {
  it('sees the sockets of the agents, and what else can work when they are gone', async () => {
    expect(await asked('guest')).toMatchObject({ check: 'guest socket', status: 'ok' })
    const gone = await asked('guest', { RBDSNAP_GUEST_SOCKET: '/nowhere/{instance}.sock' })
    expect(gone).toMatchObject({ check: 'guest socket', status: 'fail' })
    expect(gone?.remedy).toContain('What can work here: RBDSNAP_GUEST=pause')
  })

  it('sees agents that never answer', async () => {
    const ids = [...patient.cloud.nova.instances.all()].map(({ id }) => id)
    const silent = join(patient.folder, 'silent')
    mkdirSync(silent)
    const servers = ids.map((id) => createServer().listen(join(silent, `${id}.sock`)))
    expect(await asked('guest', { RBDSNAP_GUEST_SOCKET: join(silent, '{instance}.sock') })).toMatchObject({
      status: 'warn',
    })
    for (const server of servers) server.close()
  })

  it('sees that virsh is not let in', async () => {
    const found = await asked('guest', {
      RBDSNAP_GUEST: 'libvirt',
      RBDSNAP_LIBVIRT_URI: 'qemu+tcp://127.0.0.1:9/system',
    })
    expect(found).toMatchObject({ check: 'guest libvirt', status: 'fail' })
  })

  it("sees that Nova's RPC needs a bus", async () => {
    expect((await asked('guest', { RBDSNAP_GUEST: 'nova-rpc' }))?.detail).toMatch(/^not asked: /)
  })
})

it('doctor never says a secret, whatever is wrong', async () => {
  const secrets = { OS_PASSWORD: 's3cret-of-keystone', RBDSNAP_CEPH_PASSWORD: 's3cret-of-ceph' }
  const bus = { RBDSNAP_BUS_URL: 'rabbit://nova:s3cret-of-bus@127.0.0.1:9/' }
  const more = { AWS_SECRET_ACCESS_KEY: 's3cret-of-aws', OS_APPLICATION_CREDENTIAL_SECRET: '' }
  const found = await patient.all({ ...secrets, ...bus, ...more, RBDSNAP_RBD_OTHER_CONFS: '' })
  expect(found.filter(({ status }) => status === 'fail').length).toBeGreaterThan(2)
  expect(JSON.stringify(found)).not.toContain('s3cret')
})

it('doctor makes nothing on a healthy site, and finds nothing that fails', async () => {
  const before = JSON.stringify([patient.cloud.clusters.a.images('vms'), patient.cloud.clusters.a.images('images')])
  const found = await patient.all()
  expect(found.filter(({ status }) => status === 'fail')).toEqual([])
  expect(JSON.stringify([patient.cloud.clusters.a.images('vms'), patient.cloud.clusters.a.images('images')])).toBe(
    before,
  )
})
