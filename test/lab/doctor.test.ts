import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { checks } from '../../infra/doctor/checks.ts'
import { examine } from '../../infra/doctor/examine.ts'
import { siteOf } from '../../infra/doctor/site.ts'
import type { Finding } from '../../infra/doctor/verdict.ts'
import { readLab } from '../../infra/lab/lab.ts'
import { systemClock } from '../../shared/compose.ts'

/** `rbdsnap doctor` on a real cloud, well and ill. Users that are made for it are gone afterwards. */
const lab = readLab()
const mine = 'rbdsnap-doctor-test'
const password = 'Of-a-user-for-1-test'
const folder = mkdtempSync(join(tmpdir(), 'rbdsnap-doctor-'))
const passwordFile = join(folder, 'password')
const keyring = join(folder, 'keyring')

const ceph = (...args: string[]) => execFileSync('ceph', ['--conf', lab.ceph.conf, ...args], { encoding: 'utf8' })
const caps = (pool: string) => ['mon', 'profile rbd', 'mgr', 'profile rbd', 'osd', `profile rbd pool=${pool}`]

/** Of RabbitMQ's management API. */
async function rabbit(method: 'PUT' | 'DELETE', path: string, body?: unknown): Promise<void> {
  const { origin, username, password: secret } = new URL(lab.bus.managementUrl)
  const authorization = `Basic ${Buffer.from(`${username}:${secret}`).toString('base64')}`
  const headers = { authorization, 'content-type': 'application/json' }
  const answer = await fetch(`${origin}/api/${path}`, {
    method,
    headers,
    ...(body ? { body: JSON.stringify(body) } : {}),
  })
  if (!answer.ok && !(method === 'DELETE' && answer.status === 404)) throw new Error(`${path}: ${answer.status}`)
}
const busUrl = (user: string, secret: string) =>
  `rabbit://${user}:${secret}@${new URL(lab.bus.url.replace(/^rabbit/, 'http')).host}/`

async function remove(): Promise<void> {
  const without = (...args: string[]) => {
    try {
      ceph(...args)
    } catch {
      // was not there
    }
  }
  without('dashboard', 'ac-user-delete', mine)
  without('dashboard', 'ac-role-delete', mine)
  ceph('auth', 'rm', `client.${mine}`)
  await rabbit('DELETE', `users/${mine}`)
}

beforeAll(async () => {
  await remove()
  writeFileSync(passwordFile, password)
  ceph('dashboard', 'ac-role-create', mine, 'a role that is too small')
  ceph('dashboard', 'ac-role-add-scope-perms', mine, 'rbd-image', 'read')
  ceph('dashboard', 'ac-user-create', mine, mine, '--force-password', '-i', passwordFile)
  ceph('auth', 'get-or-create', `client.${mine}`, ...caps(lab.ceph.pools.disks), '-o', keyring)
  await rabbit('PUT', `users/${mine}`, { password, tags: '' })
  await rabbit('PUT', `permissions/%2F/${mine}`, { configure: '^$', write: '^$', read: '.*' })
})
afterAll(async () => {
  await remove()
  rmSync(folder, { recursive: true, force: true })
})

type Env = Record<string, string>
async function asked(check: string, env: Env = {}): Promise<Finding[]> {
  const site = siteOf({ RBDSNAP_CEPH_COMMAND: 'ceph', ...lab.env, ...env }, systemClock)
  const found = await examine(
    checks.filter(({ name }) => comesBefore(check).has(name)),
    site,
  )
  return found.filter((finding) => finding.check === check || finding.check.startsWith(`${check} `))
}
function comesBefore(check: string): Set<string> {
  const after = checks.find(({ name }) => name === check)?.after ?? []
  return new Set([check, ...after.flatMap((name) => [...comesBefore(name)])])
}

/** With a key that reaches the pool of disks and nothing else. */
const small: Env = {
  RBDSNAP_RBD_USER: mine,
  RBDSNAP_RBD_COMMAND: `rbd --keyring ${keyring}`,
  RBDSNAP_RBD_OTHER_CONFS: '',
  RBDSNAP_CEPH_COMMAND: `ceph --keyring ${keyring}`,
}

describe('doctor', () => {
  it('finds nothing that fails in a lab that is up, and shows no secret', async () => {
    const journal = { RBDSNAP_JOURNAL: `sqlite:${join(folder, 'journal.sqlite')}` }
    const queueless = checks.filter(({ name }) => name !== 'queue')
    const site = siteOf({ ...lab.env, RBDSNAP_QUEUE_PREFIX: 'http://127.0.0.1:9/0/rbdsnap-', ...journal }, systemClock)
    const found = await examine(queueless, site)
    expect(found.filter(({ status }) => status === 'fail')).toEqual([])
    for (const name of ['OS_PASSWORD', 'RBDSNAP_CEPH_PASSWORD'].filter((name) => (lab.env[name] ?? '').length > 8))
      expect(JSON.stringify(found)).not.toContain(lab.env[name])
  })

  it('sees a tenant, who is no admin', async () => {
    const { name, password: secret, project } = lab.people.tenant
    const password = { OS_APPLICATION_CREDENTIAL_ID: '', OS_APPLICATION_CREDENTIAL_SECRET: '', OS_PASSWORD: secret }
    const tenant = { OS_USERNAME: name, OS_PROJECT_NAME: project, ...password }
    expect(await asked('keystone roles', tenant)).toMatchObject([{ status: 'fail' }])
    expect(await asked('nova servers', tenant)).toMatchObject([{ status: 'fail' }])
    expect((await asked('nova computes', tenant))[0]?.detail).toMatch(/^not asked: /)
  })

  it('sees a dashboard role that is too small', async () => {
    const reader = { RBDSNAP_CEPH_USER: mine, RBDSNAP_CEPH_PASSWORD: password }
    expect(await asked('ceph login', reader)).toMatchObject([{ status: 'ok' }])
    const [found] = await asked('ceph role', reader)
    expect(found?.detail).toContain('create')
    expect(found?.detail).not.toMatch(/rbd-image: read\b/)
  })

  it('sees pools that are not there', async () => {
    expect(await asked('ceph pool', { RBDSNAP_NOVA_POOL: 'no-such-pool' })).toMatchObject([
      { status: 'fail' },
      { status: 'ok' },
    ])
  })

  it('sees that the settings name another cluster', async () => {
    const other = { RBDSNAP_CEPH_FSID: '00000000-1111-4222-8333-444444444444' }
    expect((await asked('ceph conf', other))[0]?.status).toBe('fail')
    expect(await asked('same cluster', other)).toMatchObject([{ status: 'fail' }])
  })

  it('is content with the least key, and says what only an administrator may ask', async () => {
    expect(await asked('rbd command', small)).toMatchObject([{ status: 'ok' }])
    expect(await asked('ceph command', small)).toMatchObject([{ status: 'ok' }])
    // told by librbd, where `ceph config get` is refused
    expect((await asked('ceph parent to trash', small))[0]?.detail).not.toMatch(/^not asked/)
    expect((await asked('ceph monitors', small))[0]?.detail).toMatch(/^not asked: .*EACCES/)
    expect((await asked('ceph caps of glance', small))[0]?.detail).toMatch(/^not asked: .*EACCES/)
  })

  it('sees through the command rbd what it sees through the dashboard', async () => {
    const byRbd = { RBDSNAP_CEPH_GATEWAY: 'rbd' }
    for (const check of ['ceph pool', 'ceph clone format', 'ceph disks'])
      expect(await asked(check, byRbd)).toEqual(await asked(check))
    expect(await asked('ceph role', byRbd)).toMatchObject([{ status: 'ok' }])
    // the least key has no right on Glance's pool
    expect(await asked('ceph role', { ...byRbd, ...small })).toMatchObject([{ status: 'fail' }])
  })

  it('sees a key that does not reach the pool of disks', async () => {
    ceph('auth', 'caps', `client.${mine}`, ...caps('rbdsnap-no-such-pool'))
    expect(await asked('rbd command', small)).toMatchObject([{ status: 'fail' }])
    ceph('auth', 'caps', `client.${mine}`, ...caps(lab.ceph.pools.disks))
  })
})

describe('doctor on the bus', () => {
  it('sees RabbitMQ, and an exchange and a queue that are not there', async () => {
    expect(await asked('bus')).toMatchObject([{ status: 'ok' }])
    expect(await asked('bus exchange')).toMatchObject([{ status: 'ok' }])
    expect(await asked('bus exchange', { RBDSNAP_BUS_EXCHANGE: 'no-such' })).toMatchObject([{ status: 'fail' }])
    const [queue] = await asked('bus queue', { RBDSNAP_BUS_QUEUE: mine })
    expect(queue).toMatchObject({ status: 'warn', detail: `${mine} is not there yet: no notification is kept` })
  })

  it('sees a wrong password', async () => {
    const [found] = await asked('bus', { RBDSNAP_BUS_URL: busUrl(mine, 'not-the-password') })
    expect(found).toMatchObject({ status: 'fail' })
    expect(JSON.stringify(found)).not.toContain('not-the-password')
  })
})

describe('doctor on the guests', () => {
  it('reaches every compute over the bus and over libvirt', async () => {
    expect(await asked('guest', { RBDSNAP_GUEST: 'nova-rpc' })).toMatchObject([
      { check: 'guest nova-rpc', status: 'ok' },
    ])
    const libvirt = { RBDSNAP_GUEST: 'libvirt', RBDSNAP_LIBVIRT_URI: lab.libvirt.uri }
    expect(await asked('guest', libvirt)).toMatchObject([{ check: 'guest libvirt', status: 'ok' }])
  })

  it('sees a user of the bus who may not call Nova, and says what else can work', async () => {
    const [found] = await asked('guest', { RBDSNAP_GUEST: 'nova-rpc', RBDSNAP_BUS_URL: busUrl(mine, password) })
    expect(found).toMatchObject({ status: 'fail' })
    expect(found?.detail).toContain('ACCESS_REFUSED')
    expect(found?.remedy).toContain('RBDSNAP_GUEST=pause')
  })

  it('sees an exchange on which no nova-compute listens', async () => {
    // the least rights end at Nova's exchange
    const elsewhere = { RBDSNAP_BUS_EXCHANGE: 'amq.topic', RBDSNAP_BUS_URL: lab.bus.url }
    const [found] = await asked('guest', { RBDSNAP_GUEST: 'nova-rpc', ...elsewhere })
    expect(found?.detail).toContain('nova-compute does not answer over the bus')
  })
})
