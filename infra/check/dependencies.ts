import { cruise, type ICruiseResult } from 'dependency-cruiser'
import extractDepcruiseConfig from 'dependency-cruiser/config-utl/extract-depcruise-config'
import { existsSync, globSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

/**
 * The import rules of .dependency-cruiser.mjs, and the proof that they looked: with a TypeScript that it does not know,
 * dependency-cruiser 18 sees no module at all and reports that all is well.
 */
const root = fileURLToPath(new URL('../..', import.meta.url))
const folders = ['functions', 'shared', 'infra', 'test']

export interface Looked {
  /** modules of ours that dependency-cruiser saw */
  seen: number
  /** modules that there are */
  exist: number
  wrong: string[]
}

/** @param base the folder that holds functions/, shared/, infra/, test/ */
export async function checkDependencies(base: string): Promise<Looked> {
  const config = await extractDepcruiseConfig(join(root, '.dependency-cruiser.mjs'))
  const present = folders.filter((folder) => existsSync(join(base, folder)))
  const { output } = await cruise(present, {
    ...config.options,
    ruleSet: { forbidden: config.forbidden ?? [] },
    validate: true,
    baseDir: base,
  })
  if (typeof output === 'string') throw new TypeError('dependency-cruiser answered with text')
  return judge(output, globSync(`{${folders.join(',')}}/**/*.ts`, { cwd: base }))
}

interface Cruise {
  modules: Pick<ICruiseResult['modules'][number], 'source'>[]
  summary: Pick<ICruiseResult['summary'], 'violations'>
}

export function judge({ modules, summary }: Cruise, files: string[]): Looked {
  const seen = new Set(modules.map((module) => module.source))
  const missed = files.filter((file) => !seen.has(file))
  const wrong = summary.violations.map(({ rule, from, to, cycle }) => {
    const way = cycle ? [from, ...cycle.map((step) => step.name)] : [from, to]
    return `${rule.name}: ${way.join(' -> ')}`
  })
  if (files.length === 0) wrong.push('no module: there is nothing to look at')
  if (missed.length > 0) wrong.push(`not seen: ${missed.slice(0, 5).join(', ')}${missed.length > 5 ? ', ...' : ''}`)
  return { seen: files.length - missed.length, exist: files.length, wrong }
}

if (import.meta.main) {
  const { seen, exist, wrong } = await checkDependencies(root)
  for (const line of wrong) console.error(line)
  console.log(`${seen} of ${exist} modules, ${wrong.length} violations`)
  process.exitCode = wrong.length === 0 ? 0 : 1
}
