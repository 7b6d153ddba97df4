import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { openstackEnv } from '../../infra/cli/clouds-yaml.ts'
import { readSettings } from '../../shared/config.ts'

let home: string
let here: string
beforeEach(() => {
  home = mkdtempSync(join(tmpdir(), 'rbdsnap-clouds-'))
  here = join(home, 'here')
  mkdirSync(here)
  vi.spyOn(process, 'cwd').mockReturnValue(here)
})
afterEach(() => {
  vi.restoreAllMocks()
  rmSync(home, { recursive: true })
})

function file(path: string, text: string): string {
  const at = join(home, path)
  mkdirSync(dirname(at), { recursive: true })
  writeFileSync(at, text)
  return at
}
const read = (env: Record<string, string> = {}) => {
  const { HOME: _, ...rest } = openstackEnv({ HOME: home, ...env })
  return rest
}

const site = `
clouds:
  site:
    auth:
      auth_url: https://keystone.example/v3
      username: rbdsnap
      password: in the file
      project_name: service
      user_domain_name: Services
      project_domain_name: Default
    region_name: north
    interface: internal
`
const ofSite = {
  OS_AUTH_URL: 'https://keystone.example/v3',
  OS_USERNAME: 'rbdsnap',
  OS_PASSWORD: 'in the file',
  OS_PROJECT_NAME: 'service',
  OS_USER_DOMAIN_NAME: 'Services',
  OS_PROJECT_DOMAIN_NAME: 'Default',
  OS_REGION_NAME: 'north',
  OS_INTERFACE: 'internal',
}
const cloud = (text: string) => `clouds: {site: {auth: {auth_url: https://k.example/v3}, ${text}}}`

describe('clouds.yaml', () => {
  test('of a cloud becomes the settings that the functions read', () => {
    file('here/clouds.yaml', site)
    expect(read({ OS_CLOUD: 'site' })).toEqual({ OS_CLOUD: 'site', ...ofSite })
    expect(readSettings(read({ OS_CLOUD: 'site' })).wrong.filter((line) => line.startsWith('OS_'))).toEqual([])
  })

  test('is the first one: OS_CLIENT_CONFIG_FILE, the working folder, ~/.config/openstack', () => {
    const named = file('named.yaml', cloud('region_name: named'))
    const region = (env = {}) => read({ OS_CLOUD: 'site', ...env })['OS_REGION_NAME']
    file('.config/openstack/clouds.yml', cloud('region_name: home'))
    expect(region()).toBe('home')
    file('xdg/openstack/clouds.yaml', cloud('region_name: xdg'))
    expect(region({ XDG_CONFIG_HOME: join(home, 'xdg') })).toBe('xdg')
    file('here/clouds.json', JSON.stringify({ clouds: { site: { region_name: 'here' } } }))
    expect(region()).toBe('here')
    expect(region({ OS_CLIENT_CONFIG_FILE: named })).toBe('named')
    expect(region({ OS_CLIENT_CONFIG_FILE: join(home, 'none.yaml') })).toBe('here')
  })

  test('has its secrets in secure.yaml, wherever that is', () => {
    file('here/clouds.yaml', site)
    file('.config/openstack/secure.yaml', 'clouds: {site: {auth: {password: kept apart}}}')
    expect(read({ OS_CLOUD: 'site' })).toMatchObject({ ...ofSite, OS_PASSWORD: 'kept apart' })
  })

  test('gives way to what the environment says of the same thing', () => {
    file('here/clouds.yaml', site)
    expect(read({ OS_CLOUD: 'site', OS_PASSWORD: 'mine', OS_INTERFACE: 'public' })).toMatchObject({
      ...ofSite,
      OS_PASSWORD: 'mine',
      OS_INTERFACE: 'public',
    })
  })

  test('is not looked at when the environment names a cloud by itself', () => {
    file('here/clouds.yaml', site)
    expect(read({ OS_AUTH_URL: 'http://other/v3' })).toEqual({ OS_AUTH_URL: 'http://other/v3' })
  })

  test('without OS_CLOUD means its only cloud, and none of several', () => {
    file('here/clouds.yaml', site)
    expect(read()).toEqual(ofSite)
    file('here/clouds.yaml', 'clouds: {one: {auth: {auth_url: http://one}}, two: {}}')
    expect(read()).toEqual({})
  })

  test('may have an application credential, ids, a domain for both, a CA and dashes in its names', () => {
    const credential =
      'auth-type: v3applicationcredential, auth: {application-credential-id: 12, application_credential_secret: s}'
    file('here/clouds.yaml', `clouds: {site: {${credential}, cacert: /etc/ssl/site.pem}}`)
    expect(read()).toEqual({
      OS_APPLICATION_CREDENTIAL_ID: '12',
      OS_APPLICATION_CREDENTIAL_SECRET: 's',
      NODE_EXTRA_CA_CERTS: '/etc/ssl/site.pem',
    })
    file('here/clouds.yaml', 'clouds: {site: {auth: {project_id: p, domain_id: d}, endpoint_type: adminURL}}')
    expect(read()).toEqual({
      OS_PROJECT_ID: 'p',
      OS_USER_DOMAIN_ID: 'd',
      OS_PROJECT_DOMAIN_ID: 'd',
      OS_INTERFACE: 'admin',
    })
  })

  test('may list regions: the first, or the one that was asked for', () => {
    file('here/clouds.yaml', 'clouds: {site: {regions: [north, {name: south, values: {}}]}}')
    expect(read()).toEqual({ OS_REGION_NAME: 'north' })
    expect(read({ OS_REGION_NAME: 'south' })).toEqual({ OS_REGION_NAME: 'south' })
    expect(() => read({ OS_REGION_NAME: 'west' })).toThrow(
      /OS_REGION_NAME west is not one of its regions, north, south/,
    )
  })

  test.each([
    ['a certificate that is not verified', cloud('verify: no'), /always verified.*cacert/],
    ['the same, in other words', cloud('insecure: true'), /always verified/],
    ['a certificate of our own', cloud('cert: /c.pem'), /`cert` and `key`/],
    ['another way of asking', cloud('auth_type: v3token'), /v3token is not one of/],
    ['a vendor', 'clouds: {site: {profile: vexxhost}}', /`profile` is not looked up/],
    ['what is not YAML', 'clouds: {site: {auth: {password: "geheim}}}', /cannot be read/],
  ])('with %s is refused in words, by the file and without its secrets', (_, text, words) => {
    const path = file('here/clouds.yaml', text)
    const read1 = () => read({ OS_CLOUD: 'site' })
    expect(read1).toThrow(words)
    expect(read1).toThrow(path)
    expect(read1).not.toThrow(/geheim/)
  })

  test('that has no such cloud, or is not there, is a wrong setting', () => {
    expect(() => read({ OS_CLOUD: 'site' })).toThrow(/BAD_SETTING.*there is no clouds.yaml in .*here/)
    file('here/clouds.yaml', site)
    expect(() => read({ OS_CLOUD: 'elsewhere' })).toThrow(/no cloud elsewhere; it has site/)
  })
})

describe('a password in the file', () => {
  test.each([
    ['begins like an alias', 'password: *hunter2-and-more'],
    ['begins like a block of text', 'password: |hunter2-and-more'],
    ['stands beside an alias that is only doubtful', 'password: hunter2-and-more, other: *: x'],
    ['stands in a file that cannot be read', 'password: hunter2-and-more\n  x: ['],
  ])('is never said when it %s', (_what, line) => {
    const said: string[] = []
    vi.spyOn(process, 'emitWarning').mockImplementation((warning) => void said.push(String(warning)))
    const path = file('clouds.yaml', `clouds:\n  site:\n    auth:\n      ${line}\n`)
    try {
      openstackEnv({ HOME: home, OS_CLIENT_CONFIG_FILE: path, OS_CLOUD: 'site' })
    } catch (error) {
      said.push((error as Error).message)
    }
    expect(said.join()).not.toContain('hunter2')
  })
})
