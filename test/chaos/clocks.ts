import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'

/** The wrong clock of each process: by how much is written to its file, and holds from its next start on (skew.mjs). */
export interface Clocks {
  /** what `node --import` loads */
  moduleOf: (name: string) => string
  set: (name: string, skewMs: number) => void
}

export function clocksIn(folder: string): Clocks {
  mkdirSync(folder, { recursive: true })
  const fileOf = (name: string) => join(folder, `${name}.skew`)
  const set = (name: string, skewMs: number) => writeFileSync(fileOf(name), String(skewMs))
  const moduleOf = (name: string) => {
    const url = pathToFileURL(join(import.meta.dirname, 'skew.mjs'))
    url.searchParams.set('file', fileOf(name))
    return url.href
  }
  return { moduleOf, set }
}
