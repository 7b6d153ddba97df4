import type { Accounts, Scopes } from './dashboard-auth.ts'
import type { ManagerLife } from './dashboard-life.ts'

type Args = Record<string, unknown>

/** What a route's work is given. */
export interface Call {
  args: Args
  life: ManagerLife
  accounts: Accounts
  token: string | undefined
}

/** One endpoint, as the dashboard's controllers declare it. */
export interface Route {
  method: 'GET' | 'POST' | 'PUT' | 'DELETE'
  /** below /api; a part `:x` is an argument */
  path: string
  /** the Python function, as its TypeError names it */
  python: string
  needs?: { scope: string; permission: string }
  isOpen?: true
  version?: string
  status?: number
  required?: string[]
  optional?: string[]
  /** a body may be missing (`@allow_empty_body`) */
  allowsEmpty?: true
  task?: { name: string; metadata: (args: Args) => Args; held: 'shortly' | 'longer' }
  run: (call: Call) => unknown
  headers?: (call: Call, value: unknown) => Record<string, string>
}

export function text(args: Args, name: string): string {
  const value = args[name]
  return typeof value === 'string' ? value : JSON.stringify(value)
}

export function textOrNull(args: Args, name: string): string | null {
  const value = args[name]
  return value === undefined || value === null || value === '' ? null : text(args, name)
}

/** strtobool() of the dashboard's tools */
export function flag(args: Args, name: string): boolean {
  return ['y', 'yes', 't', 'true', 'on', '1'].includes((textOrNull(args, name) ?? 'no').toLowerCase())
}

export function allows(scopes: Scopes, needs: Route['needs']): boolean {
  return needs === undefined || (scopes[needs.scope] ?? []).includes(needs.permission)
}
