import type { Check } from './check.ts'
import type { Site } from './site.ts'
import { fail, type Finding, NotAsked, type Verdict, verdictOf } from './verdict.ts'

/** What an operator waits for at most; the chain token, catalogue, Glance, images is four checks long. */
const patienceMs = 20_000

interface Outcome {
  name: string
  /** false: what is asked after it would only fail with it */
  stands: boolean
  findings: Finding[]
}

/** Asks all at once, each as soon as the checks before it have answered, each with a time limit of its own. */
export async function examine(checks: Check[], site: Site, timeoutMs = patienceMs): Promise<Finding[]> {
  const asked = new Map<string, Promise<Outcome>>()
  for (const check of checks) {
    const before = (check.after ?? []).map((name) => asked.get(name) ?? unknown(check.name, name))
    asked.set(check.name, answerOf(check, before, site, timeoutMs))
  }
  return (await Promise.all(asked.values())).flatMap((outcome) => outcome.findings)
}

function unknown(check: string, name: string): never {
  throw new Error(`the check ${check} comes after ${name}, which does not stand before it`)
}

async function answerOf(check: Check, before: Promise<Outcome>[], site: Site, timeoutMs: number): Promise<Outcome> {
  const { name } = check
  const broken = (await Promise.all(before)).filter((outcome) => !outcome.stands).map((outcome) => outcome.name)
  const because = new NotAsked(`first ${broken.join(', ')}`, `See ${broken.join(', ')}.`)
  const said = broken.length > 0 ? [verdictOf(because)] : await within(timeoutMs, check, site)
  return {
    name,
    stands: broken.length === 0 && !said.some((verdict) => verdict.status === 'fail'),
    findings: said.map(({ about, status, detail, remedy }) => ({
      check: about === undefined ? name : `${name} ${about}`,
      status,
      detail,
      remedy,
    })),
  }
}

/** A check that does not heed its signal is left behind. */
async function within(timeoutMs: number, check: Check, site: Site): Promise<Verdict[]> {
  const signal = AbortSignal.timeout(timeoutMs)
  const tooLate = new Promise<Verdict>((done) => {
    const verdict = fail(`no answer within ${String(timeoutMs / 1000)} s`, 'Look at the load and the network between.')
    signal.addEventListener('abort', () => done(verdict), { once: true })
  })
  const answer = (async () => check.ask(site, signal))().catch(verdictOf)
  return [await Promise.race([answer, tooLate])].flat()
}
