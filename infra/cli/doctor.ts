import { resolve } from 'node:path'
import { systemClock } from '../../shared/compose.ts'
import { Failure } from '../../shared/failures.ts'
import { checks } from '../doctor/checks.ts'
import { examine } from '../doctor/examine.ts'
import { siteOf } from '../doctor/site.ts'
import { runningStack } from '../embedded/stack.ts'
import { readLab } from '../lab/lab.ts'
import { openstackEnv } from './clouds-yaml.ts'
import { type Output, printList, tell } from './output.ts'
import { trustAuthority } from './trust.ts'

type Env = Record<string, string | undefined>

/** Asks everything, says everything: exit 0 when nothing fails. */
export async function doctor(env: Env, output: Output): Promise<number> {
  const { settings, wrong } = settingsOf(env)
  const findings = await examine(checks, siteOf(settings, systemClock, wrong))
  printList(
    findings.map((finding) => ({ ...finding })),
    ['check', 'status', 'detail'],
    output,
  )
  if (output.format === 'table') {
    for (const { check, status, detail, remedy } of findings.filter((finding) => finding.status !== 'ok'))
      tell(`\n${status}: ${check}: ${detail}\n  what to do: ${remedy ?? 'nothing'}`)
  }
  return findings.some((finding) => finding.status === 'fail') ? 1 : 0
}

/**
 * Those of the stack that runs over RBDSNAP_DATA_DIR; else of the cloud that a person named; else of the lab that is up.
 * Whatever is set besides wins over a lab's: so one can look what becomes of a setting.
 */
function settingsOf(env: Env): { settings: Env; wrong: string[] } {
  const dataDir = env['RBDSNAP_DATA_DIR']
  const stack = dataDir ? runningStack(resolve(dataDir)) : null
  if (stack) return { settings: { ...env, ...stack.env }, wrong: [] }
  try {
    const lab = env['OS_AUTH_URL'] || env['OS_CLOUD'] ? null : labSettings()
    const settings = openstackEnv({ ...lab, ...env })
    trustAuthority(settings)
    return { settings, wrong: [] }
  } catch (error) {
    if (!(error instanceof Failure)) throw error
    return { settings: env, wrong: [`clouds.yaml: ${error.words}`] }
  }
}

function labSettings(): Record<string, string> | null {
  try {
    const { env, folder } = readLab()
    tell(`with the settings of the lab in ${folder}`)
    return env
  } catch {
    return null
  }
}
