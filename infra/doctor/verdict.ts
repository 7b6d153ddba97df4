import { Failure, failures } from '../../shared/failures.ts'

export type Status = 'ok' | 'warn' | 'fail'

/** One line of `rbdsnap doctor`; `-f json` is a list of exactly these. */
export interface Finding {
  check: string
  status: Status
  detail: string
  remedy: string | null
}

/** What a check has found, before it has a name. A check that looks at several things says which one with `about`. */
export interface Verdict {
  status: Status
  detail: string
  remedy: string | null
  about?: string
}

export const ok = (detail: string): Verdict => ({ status: 'ok', detail, remedy: null })
export const warn = (detail: string, remedy: string): Verdict => ({ status: 'warn', detail, remedy })
export const fail = (detail: string, remedy: string): Verdict => ({ status: 'fail', detail, remedy })
export const about = (what: string, verdict: Verdict): Verdict => ({ ...verdict, about: what })

/** A question that cannot be put, and why: neither an answer nor a fault of what it asks about. */
export class NotAsked extends Error {
  readonly remedy: string

  constructor(why: string, remedy: string) {
    super(why)
    this.name = 'NotAsked'
    this.remedy = remedy
  }
}

/** What an adapter says is wrong it says with its code; the remedy is the table's. */
export function verdictOf(error: unknown): Verdict {
  if (error instanceof NotAsked) return warn(`not asked: ${error.message}`, error.remedy)
  if (error instanceof Failure) return fail(`${error.code}: ${error.words}`, failures[error.code].remedy)
  const words = error instanceof Error ? error.message : String(error)
  return fail(`UNKNOWN: ${words}`, failures.UNKNOWN.says)
}
