import { randomBytes } from 'node:crypto'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Lab, Person } from '../../../infra/lab/lab.ts'
import { cephOf } from './ceph.ts'
import { openGlanceDoor, openKeystoneDoor, type Door } from './doors.ts'
import { signIn } from './rest.ts'

/**
 * A service user, a dashboard user and a cephx user of one story, and doors to Keystone and Glance of its own, in a region of its
 * own: what is taken from them is missed by nobody else.
 */
export interface OwnService {
  /** for `openStory` */
  settings: Record<string, string>
  person: Person
  keystone: Door
  glance: Door
  /** every token that the service user has */
  revokeTokens(): Promise<void>
  /** also voids every token that the dashboard user has */
  setDashboardRights(...rights: string[]): Promise<void>
  setCephxCaps(osd: string): Promise<void>
  close(): Promise<void>
}

export const allRights = ['read', 'create', 'update', 'delete']

export async function openOwnService(lab: Lab): Promise<OwnService> {
  const name = `story-${randomBytes(4).toString('hex')}`
  const folder = mkdtempSync(join(tmpdir(), `${name}-`))
  const admin = signIn(lab, lab.people.admin)
  const ceph = cephOf(lab)
  const undos: (() => Promise<unknown>)[] = []
  const person: Person = { ...lab.people.service, name, password: randomBytes(12).toString('hex') }
  const at = (path: string) => `${lab.authUrl}/${path}`

  async function make(kind: string, body: Record<string, unknown>): Promise<string> {
    const made = await admin.must<Record<string, { id: string }>>('POST', at(`${kind}s`), { body: { [kind]: body } })
    const { id } = made[kind]!
    undos.unshift(() => admin.call('DELETE', at(`${kind}s/${id}`)))
    return id
  }
  const idOf = async (kind: string, query: string) =>
    (await admin.must<Record<string, { id: string }[]>>('GET', at(`${kind}?${query}`)))[kind]?.[0]?.id ?? ''

  async function makeUser(): Promise<string> {
    const id = await make('user', { name, password: person.password, domain_id: 'default' })
    const role = await idOf('roles', 'name=admin')
    await admin.must('PUT', at(`projects/${person.projectId}/users/${id}/roles/${role}`))
    return id
  }

  async function makeRegion(urls: Record<string, string>): Promise<void> {
    await make('region', { id: name })
    for (const [type, url] of Object.entries(urls)) {
      const service = await idOf('services', `type=${type}`)
      await make('endpoint', { service_id: service, interface: 'internal', url, region_id: name })
    }
  }

  async function setDashboardRights(...rights: string[]): Promise<void> {
    await ceph.ceph('dashboard', 'ac-role-add-scope-perms', name, 'rbd-image', ...rights)
    await ceph.ceph('dashboard', 'ac-user-set-roles', name, name)
  }

  async function makeDashboardUser(password: string): Promise<void> {
    const file = join(folder, 'password')
    writeFileSync(file, password, { mode: 0o600 })
    undos.unshift(() => ceph.ceph('dashboard', 'ac-role-delete', name))
    await ceph.ceph('dashboard', 'ac-role-create', name)
    undos.unshift(() => ceph.ceph('dashboard', 'ac-user-delete', name))
    await ceph.ceph('dashboard', 'ac-user-create', name, name, '--force-password', '-i', file)
    await setDashboardRights(...allRights)
  }

  async function setCephxCaps(osd: string): Promise<void> {
    await ceph.ceph('auth', 'caps', `client.${name}`, 'mon', 'profile rbd', 'mgr', 'profile rbd', 'osd', osd)
  }

  /** A ceph.conf that knows its keyring. */
  async function makeCephxUser(): Promise<string> {
    const [keyring, conf] = [join(folder, 'keyring'), join(folder, 'ceph.conf')]
    undos.unshift(() => ceph.ceph('auth', 'rm', `client.${name}`))
    const caps = ['mon', 'profile rbd', 'mgr', 'profile rbd', 'osd', osdCaps(lab)]
    await ceph.ceph('auth', 'get-or-create', `client.${name}`, ...caps, '-o', keyring)
    writeFileSync(conf, `${readFileSync(lab.ceph.conf, 'utf8')}\n[client.${name}]\nkeyring = ${keyring}\n`)
    return conf
  }

  async function close(): Promise<void> {
    for (const undo of undos) await undo().catch((error: unknown) => process.stdout.write(`${String(error)}\n`))
    rmSync(folder, { recursive: true, force: true })
  }

  try {
    const keystone = await openKeystoneDoor()
    undos.unshift(() => keystone.close())
    const glance = await openGlanceDoor()
    undos.unshift(() => glance.close())
    const user = await makeUser()
    await makeRegion({ image: glance.url, compute: lab.nova })
    const password = randomBytes(12).toString('hex')
    await makeDashboardUser(password)
    const conf = await makeCephxUser()
    return {
      settings: {
        OS_AUTH_URL: keystone.url,
        OS_APPLICATION_CREDENTIAL_ID: '',
        OS_APPLICATION_CREDENTIAL_SECRET: '',
        OS_USERNAME: name,
        OS_PASSWORD: person.password,
        OS_PROJECT_NAME: person.project,
        OS_REGION_NAME: name,
        RBDSNAP_CEPH_USER: name,
        RBDSNAP_CEPH_PASSWORD: password,
        RBDSNAP_RBD_USER: name,
        RBDSNAP_RBD_CONF: conf,
        RBDSNAP_RBD_OTHER_CONFS: '',
      },
      person,
      keystone,
      glance,
      // Keystone: whoever is disabled loses every token, and has none of them back when enabled.
      async revokeTokens() {
        for (const enabled of [false, true])
          await admin.must('PATCH', at(`users/${user}`), { body: { user: { enabled } } })
      },
      setDashboardRights,
      setCephxCaps,
      close,
    }
  } catch (error) {
    await close()
    throw error
  }
}

/** docs/operate.md's */
export const osdCaps = ({ ceph: { pools } }: Lab) => `profile rbd pool=${pools.disks}, profile rbd pool=${pools.images}`
