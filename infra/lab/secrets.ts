import { randomBytes } from 'node:crypto'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { inLab } from './folders.ts'

/** A password that is made once and kept, readable by its owner only. */
export function secretOf(name: string): string {
  const path = inLab(`${name}.secret`)
  if (!existsSync(path)) writeFileSync(path, randomBytes(18).toString('base64url'), { mode: 0o600 })
  return readFileSync(path, 'utf8')
}

/** One for all services and people: it is one machine, and loopback. */
export const password = (): string => secretOf('openstack')
