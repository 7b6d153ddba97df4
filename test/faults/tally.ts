import { appendFileSync, mkdtempSync, readFileSync, rmSync, existsSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { oneQueuePeriod } from '../support/invariants.ts'

/** What was counted, of every file and process; told when all are done. */
export interface Counted {
  what: string
  way: string
  calls: number
  cases: number
  bad: number
  frozenMs: number
}

/** A thaw that is lost with its function comes again when the queue shows its message again. */
const budgetMs = 5_000
export const mostFrozenMs = budgetMs + oneQueuePeriod.thawMs

const variable = 'RBDSNAP_FAULTS_TALLY'

export function count(counted: Counted): void {
  const file = process.env[variable]
  if (file !== undefined) appendFileSync(file, `${JSON.stringify(counted)}\n`)
}

/** vitest's globalSetup: once before all files, and once after them. */
export function setup(): () => void {
  const folder = mkdtempSync(join(tmpdir(), 'rbdsnap-faults-'))
  const file = join(folder, 'tally')
  process.env[variable] = file
  return () => {
    const lines = existsSync(file) ? readFileSync(file, 'utf8').trim().split('\n') : []
    rmSync(folder, { recursive: true })
    tell(lines.map((line) => JSON.parse(line) as Counted))
  }
}

function tell(all: Counted[]): void {
  const sum = (some: Counted[], key: 'cases' | 'bad' | 'calls') => some.reduce((n, c) => n + c[key], 0)
  const longest = (some: Counted[]) => Math.max(0, ...some.map((c) => c.frozenMs))
  const row = (name: string, some: Counted[]) =>
    `${name.padEnd(52)} ${String(sum(some, 'cases')).padStart(7)} cases ${String(sum(some, 'bad')).padStart(4)} bad  frozen ${String(longest(some)).padStart(5)} ms`
  const lines = [...Map.groupBy(all, (c) => c.what)].map(([what, some]) => row(what, some))
  const ways = [...Map.groupBy(all, (c) => c.way)].map(([way, some]) => row(way, some))
  // What one guard of the freeze needs alone is not the longest freeze of a cloud that has both.
  const guarded = all.filter((c) => !c.way.endsWith(' alone'))
  const most = `budget ${budgetMs} ms and one queue period ${oneQueuePeriod.thawMs} ms`
  console.log(
    ['', ...lines, '', ...ways, '', row('all', all), `longest freeze ${longest(guarded)} ms (${most})`].join('\n'),
  )
}
