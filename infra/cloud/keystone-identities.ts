import { randomBytes, scrypt, timingSafeEqual } from 'node:crypto'
import type { Subject, Token } from './keystone-tokens.ts'
import type { Records } from './records.ts'

export interface Project {
  id: string
  name: string
}
export interface NewUser {
  id: string
  name: string
  password: string
  /** project id -> roles in it */
  roles: Record<string, string[]>
}
interface Secret {
  salt: string
  hash: string
}
type User = Omit<NewUser, 'password'> & { secret: Secret }
interface Credential {
  id: string
  name: string
  userId: string
  projectId: string
  roles: string[]
  secret: Secret
}
interface Refusal {
  status: 400 | 401
  refused: string
}

const refusal: Refusal = { status: 401, refused: 'The request you have made requires authentication.' }
const malformed: Refusal = { status: 400, refused: 'Expecting to find auth in request body.' }

/** Projects, users with their roles, and application credentials. Passwords and secrets are kept hashed only. */
export function identities(records: Records) {
  const projects = records.table<Project>('project')
  const users = records.table<User>('user')
  const credentials = records.table<Credential>('application-credential')

  function findUser(wanted: unknown): User | undefined {
    const { id, name, domain } = fields(wanted)
    if (typeof id === 'string') return users.get(id)
    return isDefaultDomain(domain) ? users.all().find((user) => user.name === name) : undefined
  }

  function findProject(wanted: unknown): Project | undefined {
    const { id, name, domain } = fields(wanted)
    if (typeof id === 'string') return projects.get(id)
    return isDefaultDomain(domain) ? projects.all().find((project) => project.name === name) : undefined
  }

  async function byPassword(identity: Record<string, unknown>, scope: unknown): Promise<Subject | Refusal> {
    const claim = fields(fields(identity['password'])['user'])
    const user = findUser(claim)
    if (!user || !(await fits(claim['password'], user.secret))) return refusal
    const who = { userId: user.id, userName: user.name, methods: ['password'] }
    if (scope === undefined) return { ...who, projectId: '', projectName: '', roles: [] }
    const project = findProject(fields(scope)['project'])
    const roles = project && user.roles[project.id]
    // no role in the project reads the same as a wrong password
    return roles ? { ...who, projectId: project.id, projectName: project.name, roles: implied(roles) } : refusal
  }

  async function byCredential(identity: Record<string, unknown>, scope: unknown): Promise<Subject | Refusal> {
    const claim = fields(identity['application_credential'])
    const owner = findUser(claim['user'])
    const credential =
      typeof claim['id'] === 'string'
        ? credentials.get(claim['id'])
        : credentials.all().find((c) => c.name === claim['name'] && c.userId === owner?.id)
    if (!credential || !(await fits(claim['secret'], credential.secret))) return refusal
    if (scope !== undefined) return { status: 401, refused: 'Application credentials cannot request a scope.' }
    const user = users.get(credential.userId)
    const project = projects.get(credential.projectId)
    if (!user || !project) return refusal
    return {
      userId: user.id,
      userName: user.name,
      projectId: project.id,
      projectName: project.name,
      roles: credential.roles,
      methods: ['application_credential'],
      applicationCredential: { id: credential.id, name: credential.name },
    }
  }

  return {
    addProject: (project: Project) => projects.put(project.id, project),
    async addUser({ password, ...user }: NewUser) {
      users.put(user.id, { ...user, secret: await sealed(password) })
    },
    projectName: (id: string) => projects.get(id)?.name ?? '',
    userName: (id: string) => users.get(id)?.name ?? '',
    /** `body` is that of POST /v3/auth/tokens */
    async authenticate(body: unknown): Promise<Subject | Refusal> {
      const { identity, scope } = fields(fields(body)['auth'])
      const methods = fields(identity)['methods']
      if (!Array.isArray(methods)) return malformed
      if (methods.includes('application_credential')) return byCredential(fields(identity), scope)
      return methods.includes('password') ? byPassword(fields(identity), scope) : refusal
    },
    /** The secret is shown this once. */
    async addApplicationCredential(who: Token, body: unknown) {
      const { name, roles } = fields(fields(body)['application_credential'])
      if (typeof name !== 'string') return undefined
      const wanted = Array.isArray(roles) ? roles.map((role) => String(fields(role)['name'])) : who.roles
      const credential = {
        id: randomBytes(16).toString('hex'),
        name,
        userId: who.userId,
        projectId: who.projectId,
        roles: wanted.filter((role) => who.roles.includes(role)),
      }
      const secret = randomBytes(64).toString('base64url')
      credentials.put(credential.id, { ...credential, secret: await sealed(secret) })
      return { ...shown(credential), secret }
    },
    applicationCredentials: (userId: string) =>
      credentials
        .all()
        .filter((c) => c.userId === userId)
        .map(shown),
    removeApplicationCredential(userId: string, id: string): boolean {
      if (credentials.get(id)?.userId !== userId) return false
      credentials.remove(id)
      return true
    },
  }
}
export type Identities = ReturnType<typeof identities>

/** A password token of an `admin` carries member and reader as well; an application credential has just the roles listed. */
function implied(roles: string[]): string[] {
  const more = roles.includes('admin') ? ['member', 'reader'] : roles.includes('member') ? ['reader'] : []
  return [...new Set([...roles, ...more])]
}

function shown(credential: Omit<Credential, 'secret'>) {
  return {
    id: credential.id,
    name: credential.name,
    description: null,
    project_id: credential.projectId,
    roles: credential.roles.map((name) => ({ id: `${name}-role`, name, domain_id: null })),
    expires_at: null,
    unrestricted: false,
  }
}

const isDefaultDomain = (domain: unknown) =>
  fields(domain)['id'] === 'default' || String(fields(domain)['name']).toLowerCase() === 'default'

function fields(value: unknown): Record<string, unknown> {
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {}
}

async function sealed(password: string): Promise<Secret> {
  const salt = randomBytes(16).toString('hex')
  return { salt, hash: (await derive(password, salt)).toString('hex') }
}

async function fits(claim: unknown, secret: Secret): Promise<boolean> {
  if (typeof claim !== 'string') return false
  return timingSafeEqual(await derive(claim, secret.salt), Buffer.from(secret.hash, 'hex'))
}

function derive(password: string, salt: string): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    scrypt(password, salt, 32, (error, key) => {
      if (error) reject(error)
      else resolve(key)
    })
  })
}
