import { readFileSync, writeFileSync } from 'node:fs'
import { as, type Call } from './api.ts'
import { inLab } from './folders.ts'
import type { Part } from './part.ts'
import { region, urls } from './ports.ts'
import { password } from './secrets.ts'

/** user, project, roles there. `rbdsnap` is the service user of docs/operate.md. */
const people: [string, string, string[]][] = [
  ['nova', 'service', ['admin', 'service']],
  ['glance', 'service', ['admin', 'service']],
  ['placement', 'service', ['admin', 'service']],
  ['neutron', 'service', ['admin', 'service']],
  ['rbdsnap', 'service', ['admin']],
  ['tenant', 'tenant', ['member']],
  ['other', 'other', ['member']],
]

type Endpoints = Record<'public' | 'internal' | 'admin', string>
const everywhere = (url: string): Endpoints => ({ public: url, internal: url, admin: url })
const catalogue: Record<string, Endpoints> = {
  image: { public: urls.glancePublic, internal: urls.glanceInternal, admin: urls.glanceInternal },
  placement: everywhere(urls.placement),
  network: everywhere(urls.neutron),
  compute: everywhere(urls.nova),
}

export const identities: Part = {
  name: 'identities',
  needs: ['keystone'],
  async make() {
    const admin = await as('admin', 'admin')
    const service = await ensure(admin, 'roles', 'service', {})
    const roles: Record<string, string> = { service }
    for (const name of ['admin', 'member']) roles[name] = await ensure(admin, 'roles', name, {})
    const projects: Record<string, string> = {}
    for (const name of ['service', 'tenant', 'other']) {
      projects[name] = await ensure(admin, 'projects', name, { domain_id: 'default' })
    }
    for (const [name, project, granted] of people) {
      const user = await ensure(admin, 'users', name, { domain_id: 'default', password: password() })
      for (const role of granted) {
        await admin('PUT', `${urls.keystone}/projects/${projects[project]}/users/${user}/roles/${roles[role]}`)
      }
    }
    for (const [type, endpoints] of Object.entries(catalogue)) await ensureService(admin, type, endpoints)
    await makeApplicationCredential(admin)
    writeRc('adminrc', 'admin', 'admin')
    writeRc('tenantrc', 'tenant', 'tenant')
  },
}

/** The id of the thing of that kind and name, which is made when there is none. */
async function ensure(admin: Call, kind: string, name: string, more: Record<string, string>): Promise<string> {
  const one = kind.slice(0, -1)
  const found = (await admin('GET', `${urls.keystone}/${kind}?name=${name}`)) as Record<string, { id: string }[]>
  const there = found[kind]?.[0]
  if (there !== undefined) return there.id
  const made = (await admin('POST', `${urls.keystone}/${kind}`, { [one]: { name, ...more } })) as Record<
    string,
    { id: string }
  >
  return made[one]?.id ?? ''
}

async function ensureService(admin: Call, type: string, endpoints: Endpoints): Promise<void> {
  const id = await ensure(admin, 'services', type, { type })
  const query = `${urls.keystone}/endpoints?service_id=${id}`
  const there = (await admin('GET', query)) as { endpoints: { interface: string }[] }
  for (const [kind, url] of Object.entries(endpoints)) {
    if (there.endpoints.some((endpoint) => endpoint.interface === kind)) continue
    await admin('POST', `${urls.keystone}/endpoints`, {
      endpoint: { service_id: id, interface: kind, url, region_id: region },
    })
  }
}

export interface Credential {
  id: string
  secret: string
}
const credentialFile = inLab('application-credential.json')
export const applicationCredential = (): Credential => JSON.parse(readFileSync(credentialFile, 'utf8')) as Credential

/** Keystone says its secret only once, so one of a try before is of no use. */
async function makeApplicationCredential(admin: Call): Promise<void> {
  const user = await ensure(admin, 'users', 'rbdsnap', {})
  const own = await as('rbdsnap', 'service')
  const url = `${urls.keystone}/users/${user}/application_credentials`
  const { application_credentials: before } = (await own('GET', url)) as { application_credentials: { id: string }[] }
  for (const { id } of before) await own('DELETE', `${url}/${id}`)
  const wanted = { name: 'rbdsnap', roles: [{ name: 'admin' }] }
  const made = (await own('POST', url, { application_credential: wanted })) as { application_credential: Credential }
  const { id, secret } = made.application_credential
  writeFileSync(credentialFile, JSON.stringify({ id, secret }), { mode: 0o600 })
}

function writeRc(file: string, user: string, project: string): void {
  const lines = {
    OS_AUTH_URL: urls.keystone,
    OS_USERNAME: user,
    OS_PASSWORD: password(),
    OS_PROJECT_NAME: project,
    OS_USER_DOMAIN_NAME: 'Default',
    OS_PROJECT_DOMAIN_NAME: 'Default',
    OS_IDENTITY_API_VERSION: '3',
    OS_REGION_NAME: region,
    PATH: '/usr/sbin:/usr/bin:/sbin:/bin',
  }
  const text = Object.entries(lines).map(([name, value]) => `export ${name}=${value}\n`)
  writeFileSync(inLab(file), text.join(''), { mode: 0o600 })
}
