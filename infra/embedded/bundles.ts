import { spawnSync } from 'node:child_process'
import { existsSync, readdirSync, statSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { Failure } from '../../shared/failures.ts'

const root = resolve(import.meta.dirname, '../..')

/** The functions' bundles in dist/, made again when a source is newer: what runs is what is written. @throws Failure UNKNOWN */
export function ensureBundles(): void {
  const bundle = join(root, 'dist/ingest.mjs')
  if (existsSync(bundle) && statSync(bundle).mtimeMs > newestOf(['functions', 'shared', 'package-lock.json'])) return
  const made = spawnSync(process.execPath, [join(root, 'infra/build.ts')], { encoding: 'utf8' })
  if (made.status !== 0) throw new Failure('UNKNOWN', `the functions cannot be built: ${made.stderr || made.stdout}`)
}

function newestOf(paths: string[]): number {
  const times = paths.flatMap((path) => {
    const whole = join(root, path)
    if (!statSync(whole).isDirectory()) return [statSync(whole).mtimeMs]
    return readdirSync(whole, { recursive: true }).map((name) => statSync(join(whole, String(name))).mtimeMs)
  })
  return Math.max(...times)
}
