import { randomBytes } from 'node:crypto'
import type { Records } from './records.ts'

export interface Subject {
  userId: string
  userName: string
  /** empty for an unscoped token */
  projectId: string
  projectName: string
  roles: string[]
  methods: string[]
  applicationCredential?: { id: string; name: string }
}

export interface Token extends Subject {
  id: string
  auditId: string
  issuedAtMs: number
  expiresAtMs: number
  isRevoked: boolean
}

export const isUsable = (token: Token) => !token.isRevoked && token.expiresAtMs > Date.now()

export function tokenStore(records: Records) {
  const tokens = records.table<Token>('token')
  return {
    find: (id: string) => (id ? tokens.get(id) : undefined),
    issue(subject: Subject, ttlMs: number): Token {
      for (const old of tokens.all()) if (old.expiresAtMs < Date.now()) tokens.remove(old.id)
      const token: Token = {
        ...subject,
        id: fernetShaped(),
        auditId: randomBytes(16).toString('base64url'),
        issuedAtMs: Date.now(),
        expiresAtMs: Date.now() + ttlMs,
        isRevoked: false,
      }
      tokens.put(token.id, token)
      return token
    },
    revoke(id: string) {
      const token = tokens.get(id)
      if (token) tokens.put(id, { ...token, isRevoked: true })
    },
  }
}

/** 183 characters that begin `gAAAAA`: Fernet's version byte and big-endian seconds, as Keystone's own tokens look. */
function fernetShaped(): string {
  const bytes = randomBytes(137)
  bytes[0] = 0x80
  bytes.writeBigUInt64BE(BigInt(Math.floor(Date.now() / 1000)), 1)
  return bytes.toString('base64url')
}
