import { describe, expect, it } from 'vitest'
import { readConfig, settingNames } from '../../shared/config.ts'
import { Failure } from '../../shared/failures.ts'
import { defaultRules } from '../../shared/rules.ts'

const enough: Record<string, string> = {
  OS_AUTH_URL: 'http://127.0.0.1:5000/v3',
  OS_USERNAME: 'rbdsnap',
  OS_PASSWORD: 'pass-word-of-keystone',
  OS_PROJECT_NAME: 'service',
  RBDSNAP_CEPH_URLS: 'http://127.0.0.1:8443',
  RBDSNAP_CEPH_FSID: 'c1aefb3a-6f4b-4bb3-9f1a-5e6f7a8b9c0d',
  RBDSNAP_CEPH_USER: 'rbdsnap',
  RBDSNAP_CEPH_PASSWORD: 'pass-word-of-ceph',
  RBDSNAP_JOURNAL: 'sqlite:/var/lib/rbdsnap/journal.db',
  RBDSNAP_QUEUE_PREFIX: 'http://127.0.0.1:9324/000000000000/rbdsnap-',
  RBDSNAP_BUS_URL: 'rabbit://nova:pass-word-of-rabbit@127.0.0.1:5672/',
}
const without = (...names: string[]) =>
  Object.fromEntries(Object.entries(enough).filter(([name]) => !names.includes(name)))

function wrongOf(env: Record<string, string | undefined>): string {
  try {
    readConfig(env)
  } catch (error) {
    if (error instanceof Failure && error.code === 'BAD_SETTING') return error.words
    throw error
  }
  return ''
}

describe('the settings', () => {
  it('that have to be there are enough', () => {
    const config = readConfig(enough)
    expect(config).toMatchObject({
      OS_INTERFACE: 'internal',
      OS_USER_DOMAIN_NAME: 'Default',
      RBDSNAP_CEPH_URLS: ['http://127.0.0.1:8443'],
      RBDSNAP_NOVA_POOL: 'vms',
      RBDSNAP_GLANCE_POOL: 'images',
      RBDSNAP_FREEZE_BUDGET_MS: 5_000,
      RBDSNAP_RBD_OTHER_CONFS: [],
    })
    expect(config.rules).toBe(defaultRules)
  })

  it('that are empty count as not set', () => {
    const empty = Object.fromEntries(settingNames.filter((name) => !(name in enough)).map((name) => [name, '']))
    expect(readConfig({ ...empty, ...enough })).toEqual(readConfig(enough))
    expect(wrongOf({ ...enough, OS_AUTH_URL: '' })).toBe('OS_AUTH_URL: is not set')
  })

  it('of other programs are none of ours', () => {
    expect(readConfig({ ...enough, PATH: '/bin', OS_TENANT_ID: 'x', toString: 'x' })).toEqual(readConfig(enough))
  })

  it('that are missing are named all at once', () => {
    const said = wrongOf({})
    for (const name of Object.keys(enough)) expect(said).toContain(`${name}: is not set`)
  })

  it('that are wrong are named together with those that are missing', () => {
    const said = wrongOf({
      ...without('OS_AUTH_URL'),
      RBDSNAP_FREEZE_BUDGET_MS: '31000',
      RBDSNAP_FLATTENS_AT_ONCE: 'many',
      RBDSNAP_JOURNAL: '/var/lib/journal.db',
      OS_INTERFACE: 'outside',
      RBDSNAP_GUEST_SOCKET: '/run/agent.sock',
      RBDSNAP_RULES: '/nowhere/rules.json',
    })
    expect(said.split('; ').map((part) => part.split(':')[0])).toEqual([
      'OS_AUTH_URL',
      'OS_INTERFACE',
      'RBDSNAP_GUEST_SOCKET',
      'RBDSNAP_FREEZE_BUDGET_MS',
      'RBDSNAP_FLATTENS_AT_ONCE',
      'RBDSNAP_JOURNAL',
      'RBDSNAP_RULES',
    ])
    expect(said).toContain('RBDSNAP_JOURNAL: must be sqlite:PATH')
    expect(said).toContain('OS_INTERFACE: must be public or internal or admin')
    expect(said).toContain('RBDSNAP_FREEZE_BUDGET_MS: must be a whole number from 1000 to 30000')
    expect(said).toContain('RBDSNAP_FLATTENS_AT_ONCE: must be a whole number from 1 to 64')
    expect(said).not.toContain('Invalid')
  })

  it.each([
    ['OS_AUTH_URL', 'keystone'],
    ['OS_AUTH_URL', 'file:///etc/passwd'],
    ['RBDSNAP_CEPH_URLS', 'http://127.0.0.1:8443,not a url'],
    ['RBDSNAP_FREEZE_BUDGET_MS', '999'],
    ['RBDSNAP_FREEZE_BUDGET_MS', '1500.5'],
    ['RBDSNAP_FLATTENS_AT_ONCE', '0'],
  ])('refuse %s=%s', (name, value) => {
    expect(wrongOf({ ...enough, [name]: value })).toContain(name)
  })

  it('never come out in words, whatever is wrong with them', () => {
    const secret = 's3cr3t-value'
    for (const name of settingNames) {
      if (name === 'RBDSNAP_RULES') continue
      expect(wrongOf({ ...Object.fromEntries(settingNames.map((n) => [n, ''])), [name]: secret })).not.toContain(secret)
    }
  })

  it('may be lists, with blanks around their parts', () => {
    const config = readConfig({
      ...enough,
      RBDSNAP_CEPH_URLS: 'http://a:8443 , http://b:8443',
      RBDSNAP_RBD_OTHER_CONFS: '/a.conf,/b.conf',
    })
    expect(config.RBDSNAP_CEPH_URLS).toEqual(['http://a:8443', 'http://b:8443'])
    expect(config.RBDSNAP_RBD_OTHER_CONFS).toEqual(['/a.conf', '/b.conf'])
  })
})

describe('the gateway rbd', () => {
  const none = without('RBDSNAP_CEPH_URLS', 'RBDSNAP_CEPH_USER', 'RBDSNAP_CEPH_PASSWORD')

  it('needs nothing of the dashboard', () => {
    expect(wrongOf({ ...none, RBDSNAP_CEPH_GATEWAY: 'rbd' })).toBe('')
  })

  it('is not taken by itself: without it the dashboard has to be there', () => {
    expect(wrongOf(none)).toBe(
      'RBDSNAP_CEPH_URLS: is not set; RBDSNAP_CEPH_USER: is not set; RBDSNAP_CEPH_PASSWORD: is not set',
    )
    expect(wrongOf({ ...enough, RBDSNAP_CEPH_GATEWAY: 'rados' })).toBe('RBDSNAP_CEPH_GATEWAY: must be dashboard or rbd')
  })
})

describe('an application credential', () => {
  const none = without('OS_USERNAME', 'OS_PASSWORD', 'OS_PROJECT_NAME')
  const credential = { OS_APPLICATION_CREDENTIAL_ID: 'id', OS_APPLICATION_CREDENTIAL_SECRET: 'secret' }

  it('takes the place of user, password and project', () => {
    expect(wrongOf({ ...none, ...credential })).toBe('')
  })

  it('needs both its parts', () => {
    expect(wrongOf({ ...none, OS_APPLICATION_CREDENTIAL_ID: 'id' })).toBe(
      'OS_APPLICATION_CREDENTIAL_SECRET: is not set',
    )
    expect(wrongOf({ ...none, OS_APPLICATION_CREDENTIAL_SECRET: 's' })).toBe('OS_APPLICATION_CREDENTIAL_ID: is not set')
  })

  it('without it, user, password and project have to be there', () => {
    expect(wrongOf(none)).toBe('OS_USERNAME: is not set; OS_PASSWORD: is not set; OS_PROJECT_NAME: is not set')
  })
})
