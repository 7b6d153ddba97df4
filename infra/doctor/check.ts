import type { Site } from './site.ts'
import type { Verdict } from './verdict.ts'

/**
 * One question to the site. It reads; what it has to make in order to ask, it removes before it answers. What it throws is its
 * answer (verdict.ts), so a check that breaks hides no other.
 */
export interface Check {
  name: string
  /** the checks, standing before it in the table, without whose answer this one cannot be asked */
  after?: string[]
  ask: (site: Site, signal: AbortSignal) => Promise<Verdict | Verdict[]>
}
