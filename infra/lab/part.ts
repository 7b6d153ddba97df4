import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { inLab, logOf } from './folders.ts'
import type { Ini } from './ini.ts'
import { pidOf, start, type Program } from './process.ts'
import { eventually } from './ready.ts'

/** One row of the lab's table (parts.ts): something that is made once, something that runs, or both. */
export interface Part {
  name: string
  /** parts that must be up before this one is made or started */
  needs: string[]
  /** Made once. It begins with nothing: what a try before left half made is removed or used by it. */
  make?: () => Promise<void>
  /** Writes its configuration, `settings` laid over the lab's own, and says what to run. */
  program?: (settings: Ini) => Program
  isReady?: () => Promise<boolean>
  readyWithinMs?: number
}

const mark = (name: string) => inLab('made', name)
export const isMade = ({ name, make }: Part): boolean => make === undefined || existsSync(mark(name))
export const isUp = (part: Part): boolean => isMade(part) && (part.program === undefined || pidOf(part.name) !== null)

export function unmake(name: string): void {
  rmSync(mark(name), { force: true })
}

/** Makes what is not made and starts what does not run. @throws Error saying why it did not come up */
export async function bringUp(part: Part, settings: Ini = {}): Promise<void> {
  if (part.make !== undefined && !isMade(part)) {
    await part.make()
    writeFileSync(mark(part.name), '')
  }
  if (part.program !== undefined && pidOf(part.name) === null) await start(part.name, part.program(settings))
  await ready(part)
}

async function ready({ name, program, isReady, readyWithinMs = 90_000 }: Part): Promise<void> {
  if (isReady === undefined) return
  const isOver = () => program !== undefined && pidOf(name) === null
  if (await eventually(isReady, { withinMs: readyWithinMs, isOver })) return
  const what = isOver() ? 'ended by itself' : `was not ready within ${readyWithinMs / 1000} s`
  const log = logOf(name)
  throw new Error(`${name} ${what}. ${existsSync(log) ? `${log} ends:\n${endOf(log)}` : ''}`)
}

function endOf(log: string): string {
  const lines = readFileSync(log, 'utf8').trimEnd().split('\n')
  return lines
    .slice(-12)
    .map((line) => `    ${line.slice(0, 300)}`)
    .join('\n')
}
