import { existsSync, readFileSync } from 'node:fs'
import { homedir } from 'node:os'
import { join, resolve } from 'node:path'
import { parse, YAMLParseError } from 'yaml'
import { Failure } from '../../shared/failures.ts'

/**
 * clouds.yaml as openstackclient reads it (openstacksdk, openstack/config/loader.py, and osc-lib, whose options have the
 * environment as their defaults):
 *
 * - the first clouds.yaml there is, of OS_CLIENT_CONFIG_FILE, the working folder, ~/.config/openstack, /etc/openstack; over it
 *   the first secure.yaml, found in the same way;
 * - the cloud is OS_CLOUD; without it what OS_* say, and when they say nothing, the file's only one;
 * - an OS_* variable wins over what the file says of the same thing.
 *
 * The functions know an environment only, so a cloud becomes the OS_* that they read (shared/config.ts).
 */
type Env = Record<string, string | undefined>
type Fields = Record<string, unknown>

/** `env` with the cloud that it means written into it. @throws Failure BAD_SETTING */
export function openstackEnv(env: Env): Record<string, string> {
  const own = Object.fromEntries(Object.entries(env).flatMap(([name, value]) => (value ? [[name, value]] : [])))
  const found = chosenCloud(own)
  return found ? { ...settingsOf(found, own), ...own } : own
}

interface Cloud {
  name: string
  path: string
  fields: Fields
}

function chosenCloud(env: Record<string, string>): Cloud | null {
  const wanted = env['OS_CLOUD']
  if (wanted === undefined && Object.keys(env).some(saysWhere)) return null
  const file = firstFile('clouds', env['OS_CLIENT_CONFIG_FILE'], env)
  if (!file) {
    if (wanted === undefined) return null
    throw new Failure('BAD_SETTING', `OS_CLOUD: there is no clouds.yaml in ${folders(env).join(', ')}.`)
  }
  const secure = firstFile('secure', env['OS_CLIENT_SECURE_FILE'], env)
  const clouds = fieldsOf(merged(file.content, secure?.content ?? {})['clouds'])
  const names = Object.keys(clouds)
  const name = wanted ?? (names.length === 1 ? names[0] : undefined)
  if (name === undefined) return null
  if (!(name in clouds))
    throw new Failure('BAD_SETTING', `OS_CLOUD: ${file.path} has no cloud ${name}; it has ${names.join(', ')}.`)
  return { name, path: file.path, fields: fieldsOf(clouds[name]) }
}

/** Those that only choose do not make a cloud of the environment. */
const selectors = ['OS_CLOUD', 'OS_REGION_NAME', 'OS_CLIENT_CONFIG_FILE', 'OS_CLIENT_SECURE_FILE', 'OS_CLOUD_NAME']
const saysWhere = (name: string) => name.startsWith('OS_') && !selectors.includes(name)

function folders(env: Record<string, string>): string[] {
  const home = env['HOME'] ?? homedir()
  const config = [env['XDG_CONFIG_HOME'], join(home, '.config')].flatMap((at) => (at ? [join(at, 'openstack')] : []))
  return [process.cwd(), ...config, '/etc/openstack']
}

function firstFile(name: 'clouds' | 'secure', first: string | undefined, env: Record<string, string>) {
  const usual = folders(env).flatMap((at) => ['yaml', 'yml', 'json'].map((end) => join(at, `${name}.${end}`)))
  const path = [...(first === undefined ? [] : [resolve(first)]), ...usual].find((at) => existsSync(at))
  return path === undefined ? null : { path, content: read(path) }
}

function read(path: string): Fields {
  try {
    // as PyYAML does: `verify: no` is false; a warning of the parser's is printed with the lines of the file around it
    return fieldsOf(parse(readFileSync(path, 'utf8'), { version: '1.1', logLevel: 'error' }))
  } catch (error) {
    throw new Failure('BAD_SETTING', `${path} cannot be read: ${reason(error)}`)
  }
}

/** Of a fault in the file its kind and its place alone: the words quote the file, and it has a password in it. */
function reason(error: unknown): string {
  if (error instanceof YAMLParseError) return `${error.code} in line ${error.linePos?.[0].line ?? 1}`
  // an alias that leads nowhere, or to too much, is found when the document is made into values
  if (error instanceof ReferenceError)
    return 'an alias (*NAME) in it cannot be resolved; quote what begins with an asterisk'
  return error instanceof Error ? error.message : String(error)
}

/** `project-name` is `project_name`; numbers are text. */
function fieldsOf(value: unknown): Fields {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return {}
  return Object.fromEntries(
    Object.entries(value).map(([name, of]) => [
      name.replaceAll('-', '_'),
      typeof of === 'number' ? String(of) : isFields(of) ? fieldsOf(of) : (of as unknown),
    ]),
  )
}
const isFields = (value: unknown) => typeof value === 'object' && value !== null && !Array.isArray(value)

function merged(under: Fields, over: Fields): Fields {
  const both = Object.entries(over).map(([name, value]) => [
    name,
    isFields(value) && isFields(under[name]) ? merged(fieldsOf(under[name]), fieldsOf(value)) : value,
  ])
  return { ...under, ...(Object.fromEntries(both) as Fields) }
}

/** OS_PROJECT_NAME is `auth.project_name`; the SDK takes what belongs into `auth` beside it as well. */
const authFields = [
  'auth_url',
  'username',
  'password',
  'project_id',
  'project_name',
  'user_domain_id',
  'user_domain_name',
  'project_domain_id',
  'project_domain_name',
  'application_credential_id',
  'application_credential_secret',
]
const authTypes = ['password', 'v3password', 'v3applicationcredential']

function settingsOf(cloud: Cloud, env: Record<string, string>): Record<string, string> {
  const { fields } = cloud
  const auth = fieldsOf(fields['auth'])
  const wrong = (words: string) => new Failure('BAD_SETTING', `${cloud.path}: cloud ${cloud.name}: ${words}`)
  const text = (name: string) => {
    const value = auth[name] ?? fields[name]
    return typeof value === 'string' && value !== '' ? value : undefined
  }
  const type = env['OS_AUTH_TYPE'] ?? text('auth_type') ?? 'password'
  if (!authTypes.includes(type)) throw wrong(`auth_type ${type} is not one of ${authTypes.join(', ')}.`)
  if (isFalse(fields['verify']) || isTrue(fields['insecure']))
    throw wrong('a certificate is always verified: give its authority with `cacert`, and take `verify: false` away.')
  if (fields['cert'] !== undefined || fields['key'] !== undefined)
    throw wrong('`cert` and `key`, a certificate of our own, are not supported.')
  const profile = fields['profile'] ?? fields['cloud']
  if (profile !== undefined && text('auth_url') === undefined)
    throw wrong('a vendor `profile` is not looked up: write its `auth_url` here.')

  const sides = fields['interface'] ?? fields['endpoint_type']
  const side = typeof sides === 'string' ? sides.replace(/URL$/, '') : undefined
  const settings = {
    ...Object.fromEntries(authFields.map((name) => [`OS_${name.toUpperCase()}`, text(name)])),
    ...domains(text),
    OS_REGION_NAME: regionOf(fields, env['OS_REGION_NAME'], wrong),
    OS_INTERFACE: side,
    // Node reads it when it starts (and `trust` after that)
    NODE_EXTRA_CA_CERTS: env['OS_CACERT'] ?? text('cacert'),
  }
  return Object.fromEntries(Object.entries(settings).flatMap(([name, value]) => (value ? [[name, value]] : [])))
}

/** One domain for both, when the file has just one. */
function domains(text: (name: string) => string | undefined): Record<string, string | undefined> {
  const either = (name: string) => text(name) ?? text(name.replace(/^(user|project)_/, ''))
  return {
    OS_USER_DOMAIN_ID: either('user_domain_id'),
    OS_USER_DOMAIN_NAME: either('user_domain_name'),
    OS_PROJECT_DOMAIN_ID: either('project_domain_id'),
    OS_PROJECT_DOMAIN_NAME: either('project_domain_name'),
  }
}

/** The one that was asked for must be among the cloud's; else the first of them. */
function regionOf(fields: Fields, wanted: string | undefined, wrong: (words: string) => Failure): string | undefined {
  const listed =
    fields['regions'] ?? (typeof fields['region_name'] === 'string' ? fields['region_name'].split(',') : [])
  const regions: unknown[] = Array.isArray(listed) ? listed : []
  const names = regions.map((region) => (isFields(region) ? fieldsOf(region)['name'] : region))
  if (wanted === undefined || names.length === 0) return typeof names[0] === 'string' ? names[0] : undefined
  if (names.includes(wanted)) return wanted
  throw wrong(`OS_REGION_NAME ${wanted} is not one of its regions, ${names.join(', ')}.`)
}

const isTrue = (value: unknown) => value === true || (typeof value === 'string' && value.toLowerCase() === 'true')
const isFalse = (value: unknown) => value === false || (typeof value === 'string' && value.toLowerCase() === 'false')
