import type { Site } from './site.ts'
import { about, fail, ok, type Verdict } from './verdict.ts'

/** One line for each setting that is missing or wrong, by its name and never by its value. */
export async function settings(site: Site): Promise<Verdict[]> {
  const up = site.isForUp ? '; journal and queues are those of `rbdsnap up`' : ''
  if (site.wrong.length === 0) return [ok(`all that have to be there are, and all can be read${up}`)]
  return site.wrong.map((line) => {
    const [name = '', words = ''] = line.split(/: (.*)/s)
    return about(name, fail(words, `Set ${name}; docs/operate.md says what it means.`))
  })
}

export async function rules(site: Site): Promise<Verdict> {
  const path = site.given('RBDSNAP_RULES')
  const { rules: all, limits } = site.given('rules')
  const from = path === undefined ? 'the default rules' : path
  const { open, perHour } = limits.instance
  return ok(`${from}: ${all.map((rule) => rule.name).join(', ')}; ${open} at once and ${perHour} an hour per instance`)
}
