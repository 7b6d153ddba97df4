import { mkdirSync, renameSync, writeFileSync } from 'node:fs'
import { dirname } from 'node:path'

/** Sections of a configuration file; the section '' stands before all others, without a head. */
export type Ini = Record<string, Record<string, string | number | boolean>>

/** `over` wins, option by option. */
export function laidOver(base: Ini, over: Ini): Ini {
  const sections = new Set([...Object.keys(base), ...Object.keys(over)])
  return Object.fromEntries([...sections].map((name) => [name, { ...base[name], ...over[name] }]))
}

/**
 * Holds passwords as a rule, so only its owner may read it. Put there whole: parts of one cluster share a file and come up beside each
 * other, and a manager that starts while it is written finds an empty one, and no monitor in it.
 */
export function writeIni(path: string, ini: Ini): string {
  const text = Object.entries(ini).map(([name, options]) => {
    const lines = Object.entries(options).map(([option, value]) => `${option} = ${value}\n`)
    return `${name === '' ? '' : `[${name}]\n`}${lines.join('')}`
  })
  mkdirSync(dirname(path), { recursive: true })
  writeFileSync(`${path}.new`, text.join('\n'), { mode: 0o600 })
  renameSync(`${path}.new`, path)
  return path
}
