import { mkdtempSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { readRules } from '../../../shared/config.ts'
import { Failure } from '../../../shared/failures.ts'
import { defaultRules, explain as trueExplain } from '../../../shared/rules.ts'
import type { Notification } from '../../../shared/run.ts'
import { ids } from '../calls.ts'
import { holds, type Target } from '../target.ts'

/** A file of rules: refused with a code, or the first rule that matches decides; what matches is reckoned a second time, slowly. */
export function rulesTarget(explain = trueExplain): Target {
  const file = join(mkdtempSync(join(tmpdir(), 'rbdsnap-fuzz-')), 'rules.json')
  return {
    name: 'rules',
    covers: ['shared/rules.ts', 'shared/config.ts'],
    seeds: () => [defaultRules, { ...defaultRules, rules: [every] }].map((rules) => JSON.stringify(rules)),
    feed(input) {
      writeFileSync(file, input)
      try {
        const rules = readRules(file)
        return events
          .map((event) => {
            const heard = { ...update, event }
            const said = explain(heard, rules)
            const first = rules.rules.find(
              (rule) =>
                rule.then !== 'policy' &&
                rule.events.some((pattern) => matches(pattern, event)) &&
                (!rule.projects || rule.projects.includes(ids.project)),
            )
            holds(said.rule?.name === first?.name, `${event}: ${said.rule?.name} decided, and not ${first?.name}`)
            return said.decision
          })
          .join()
      } catch (error) {
        if (!(error instanceof Failure)) throw error
        holds(error.code === 'BAD_SETTING', `its code is ${error.code}`)
        return error.words.slice(error.words.indexOf('rules.json'), 120)
      }
    },
  }
}

const every = {
  name: 'e',
  events: ['a*b*c', '*', '**'],
  then: 'tag',
  quiesce: 'none',
  projects: [ids.project],
  why: '',
}
const events = ['instance.update', 'instance.delete.end', 'instance.', 'abc', 'a/b*c', '', 'aXbXbc']
const update: Notification = {
  is: 'notification',
  format: 'versioned',
  eventType: 'x',
  event: 'x',
  messageId: 'm',
  atMs: 0,
  instance: ids.instance,
  project: ids.project,
  image: null,
  tags: ['snapshot', 'snapshot:x'],
}

/** Letter by letter: which beginnings of the text does the pattern match so far? */
function matches(pattern: string, text: string): boolean {
  let reached = new Set([0])
  for (const letter of pattern.split('')) {
    const from = [...reached]
    const least = Math.min(...from)
    reached =
      letter === '*'
        ? new Set(Array.from({ length: text.length + 1 - least }, (_, i) => least + i))
        : new Set(from.filter((at) => text[at] === letter).map((at) => at + 1))
    if (reached.size === 0) return false
  }
  return reached.has(text.length)
}
