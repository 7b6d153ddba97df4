import { RbdError } from './ceph-errors.ts'

/** The exceptions that librbd's Python binding (16.2) makes of an errno; the dashboard passes their words on. */
const rbdWords: Record<number, string> = {
  1: 'RBD permission error',
  2: 'RBD image not found',
  16: 'RBD image is busy',
  17: 'RBD image already exists',
  22: 'RBD invalid argument',
  38: 'RBD function not supported',
  39: 'RBD image has snapshots',
}

/**
 * What a refused call is answered with: `detail`, `code` (an errno as text, but for those that have none) and
 * `component`.
 */
export class DashboardError extends Error {
  readonly status: number
  readonly code: string | number | undefined
  readonly component: string | null

  constructor(detail: string, more: { status?: number; code?: string | number; component?: string | null } = {}) {
    super(detail)
    this.status = more.status ?? 400
    this.code = more.code
    this.component = more.component ?? null
  }

  get body() {
    return { detail: this.message, ...(this.code === undefined ? {} : { code: this.code }), component: this.component }
  }
}

/**
 * cherrypy's HTTPError: answered by the error page as it is, but `(404, '...')` with a number for a code inside a
 * task.
 */
export class HttpError extends Error {
  readonly status: number
  constructor(status: number, words: string) {
    super(words)
    this.status = status
  }

  inTask(): DashboardError {
    return new DashboardError(`(${this.status}, '${this.message}')`, { status: this.status, code: this.status })
  }
}

/** The manager was killed under the call: nobody is answered. */
export class ManagerDied extends Error {}

/** Says what the binding was doing when librbd refused, in the binding's words. */
export function doing<T>(words: string, work: () => T): T {
  try {
    const result = work()
    return result instanceof Promise ? (result.catch((error: unknown) => refuse(error, words)) as T) : result
  } catch (error) {
    return refuse(error, words)
  }
}

/** librbd's refusal as the dashboard words it; anything else is passed on. */
export function refuse(error: unknown, words: string): never {
  if (!(error instanceof RbdError)) throw error
  const { errno, component } = error
  const kind = component === 'pool' ? 'RADOS object not found' : (rbdWords[errno] ?? `RBD error code ${errno}`)
  const detail = `[errno ${errno}] ${kind} (${component === 'pool' ? error.message : words})`
  throw new DashboardError(detail, { code: String(errno), component })
}
