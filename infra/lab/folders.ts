import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { labFolder } from './lab.ts'

/** All that the lab keeps, under one folder: state by part, settings in etc/, every log in logs/. */
export const inLab = (...path: string[]): string => join(labFolder, ...path)
export const logOf = (part: string): string => inLab('logs', `${part}.log`)
export const etc = (...path: string[]): string => inLab('etc', ...path)

export function makeFolders(): void {
  mkdirSync(labFolder, { recursive: true, mode: 0o700 })
  for (const name of ['logs', 'etc', 'run', 'made', 'guest']) mkdirSync(inLab(name), { recursive: true })
}
