import { createHmac, randomBytes, randomUUID, scrypt, timingSafeEqual } from 'node:crypto'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { openStore } from './ceph-store.ts'

/** What a role may do, scope by scope: `{ 'rbd-image': ['create', 'delete', 'read', 'update'] }`. */
export type Scopes = Record<string, string[]>
export interface DashboardUser {
  name: string
  password: string
  scopes: Scopes
}

interface UserRow {
  name: string
  salt: string
  hash: string
  scopes: string
  isEnabled: 0 | 1
  wrongPasswords: number
  changedS: number
}
interface Claims {
  iss: string
  jti: string
  exp: number
  iat: number
  username: string
}

const schema = `
  CREATE TABLE IF NOT EXISTS settings (name TEXT PRIMARY KEY, value TEXT) WITHOUT ROWID;
  CREATE TABLE IF NOT EXISTS users (name TEXT PRIMARY KEY, salt TEXT, hash TEXT, scopes TEXT, isEnabled INTEGER, wrongPasswords INTEGER,
    changedS INTEGER) WITHOUT ROWID;
  CREATE TABLE IF NOT EXISTS loggedOut (jti TEXT PRIMARY KEY, exp INTEGER) WITHOUT ROWID;
`
/** `ceph dashboard get-account-lockout-attempts` */
const lockoutAttempts = 10

const derive = promisify<string, string, number, Buffer>(scrypt)
const nowS = () => Math.floor(Date.now() / 1000)

/**
 * The dashboard's users and tokens. They are kept with the cluster (in Ceph: in the monitor), so a token stays good
 * across a manager's restart and failover, and a locked user stays locked.
 */
export async function openAccounts(dataDir: string, users: readonly DashboardUser[], tokenTtlS: number) {
  const store = openStore(join(dataDir, 'dashboard.db'), schema)
  store.run(`INSERT OR IGNORE INTO settings (name, value) VALUES ('jwt_secret', ?)`, randomBytes(16).toString('base64'))
  const secret = store.get<{ value: string }>(`SELECT value FROM settings WHERE name = 'jwt_secret'`)?.value ?? ''
  for (const user of users) await ensureUser(user)

  function find(name: string): UserRow | undefined {
    return store.get<UserRow>('SELECT * FROM users WHERE name = ?', name)
  }

  async function isRight(user: UserRow, password: string): Promise<boolean> {
    return timingSafeEqual(await derive(password, user.salt, 32), Buffer.from(user.hash, 'hex'))
  }

  /** A change of the password or the role voids the user's older tokens; the same again changes nothing. */
  async function ensureUser({ name, password, scopes }: DashboardUser) {
    const known = find(name)
    if (known && known.scopes === JSON.stringify(scopes) && (await isRight(known, password))) return
    const salt = randomBytes(16).toString('hex')
    const hash = (await derive(password, salt, 32)).toString('hex')
    const sql = `INSERT OR REPLACE INTO users (name, salt, hash, scopes, isEnabled, wrongPasswords, changedS) VALUES (?, ?, ?, ?, 1, 0, ?)`
    store.run(sql, name, salt, hash, JSON.stringify(scopes), nowS())
  }

  function setEnabled(name: string, isEnabled: boolean) {
    const sql = 'UPDATE users SET isEnabled = ?, wrongPasswords = 0, changedS = ? WHERE name = ?'
    store.run(sql, isEnabled ? 1 : 0, nowS(), name)
  }

  function sign(text: string): string {
    return createHmac('sha256', secret).update(text).digest('base64url')
  }

  function makeToken(username: string): string {
    const encode = (part: object) => Buffer.from(JSON.stringify(part)).toString('base64url')
    const iat = nowS()
    const claims: Claims = { iss: 'ceph-dashboard', jti: randomUUID(), exp: iat + tokenTtlS, iat, username }
    const text = `${encode({ typ: 'JWT', alg: 'HS256' })}.${encode(claims)}`
    return `${text}.${sign(text)}`
  }

  function claimsOf(token: string): Claims | null {
    const [header, body, signature] = token.split('.')
    if (!header || !body || !signature) return null
    const wanted = Buffer.from(sign(`${header}.${body}`))
    const given = Buffer.from(signature)
    if (wanted.length !== given.length || !timingSafeEqual(wanted, given)) return null
    const claims = JSON.parse(Buffer.from(body, 'base64url').toString()) as Claims
    return claims.exp > nowS() ? claims : null
  }

  return {
    /** Ten wrong passwords, and the next try of any kind disables the user until an operator enables it. */
    async logIn(name: string, password: string): Promise<{ token: string; scopes: Scopes } | null> {
      const user = find(name)
      if (!user) return null
      if (user.wrongPasswords >= lockoutAttempts) {
        store.run('UPDATE users SET isEnabled = 0, changedS = ? WHERE name = ?', nowS(), name)
        return null
      }
      if (!user.isEnabled || !(await isRight(user, password))) {
        store.run('UPDATE users SET wrongPasswords = wrongPasswords + 1 WHERE name = ?', name)
        return null
      }
      store.run('UPDATE users SET wrongPasswords = 0 WHERE name = ?', name)
      return { token: makeToken(name), scopes: JSON.parse(user.scopes) as Scopes }
    },

    /** null for no, a bad, an expired and a logged-out token, and for one older than the user's last change. */
    whose(token: string | undefined): { name: string; scopes: Scopes } | null {
      const claims = token === undefined ? null : claimsOf(token)
      if (!claims || store.get('SELECT 1 FROM loggedOut WHERE jti = ?', claims.jti)) return null
      const user = find(claims.username)
      if (!user || user.changedS > claims.iat) return null
      return { name: user.name, scopes: JSON.parse(user.scopes) as Scopes }
    },

    logOut(token: string) {
      const claims = claimsOf(token)
      if (claims) store.run('INSERT OR IGNORE INTO loggedOut (jti, exp) VALUES (?, ?)', claims.jti, claims.exp)
    },

    /** `ceph dashboard ac-user-enable` and `ac-user-disable` */
    setEnabled,
    close: store.close,
  }
}
export type Accounts = Awaited<ReturnType<typeof openAccounts>>
