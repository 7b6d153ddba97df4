import * as z from 'zod/mini'
import { quiescePolicy, type Notification } from './run.ts'
import { takeOverRun } from './names.ts'

/**
 * Which notification asks for what. Rules are data: the first that matches decides, and `rbdsnap explain` says which.
 * Event names are Nova's versioned ones, legacy names are translated first (shared/notification.ts); `*` stands for anything.
 */
const rule = z.object({
  name: z.string().check(z.minLength(1), z.maxLength(64)),
  events: z.array(z.string().check(z.maxLength(255))).check(z.minLength(1)),
  /** only for these projects; all when it is not there */
  projects: z.optional(z.array(z.string())),
  then: z.enum(['take-over', 'tag', 'note', 'ignore']),
  quiesce: z._default(z.union([quiescePolicy, z.literal('auto')]), 'auto'),
  why: z.string().check(z.maxLength(255)),
})
export type Rule = z.infer<typeof rule>

const limit = z.object({ open: z.int().check(z.positive()), perHour: z.int().check(z.positive()) })

export const rulesSchema = z.object({
  rules: z.array(rule).check(z.minLength(1)),
  limits: z.object({ instance: limit, project: limit }),
})
export type Rules = z.infer<typeof rulesSchema>

export const defaultRules: Rules = {
  rules: [
    {
      name: 'take-over',
      events: ['instance.snapshot.start'],
      then: 'take-over',
      quiesce: 'auto',
      why: 'Nova is about to fill a queued image',
    },
    {
      name: 'tag',
      events: ['instance.update', 'instance.create.end'],
      then: 'tag',
      quiesce: 'auto',
      why: 'the server bears the tag snapshot',
    },
    {
      name: 'moves',
      events: [
        'instance.live_migration*',
        'instance.resize*',
        'instance.delete.*',
        'instance.rebuild.start',
        'instance.shelve_offload.start',
        'instance.shutdown.end',
        'instance.snapshot.end',
        'compute.exception',
      ],
      then: 'note',
      quiesce: 'auto',
      why: 'a run in flight looks again at what it waits for',
    },
    { name: 'rest', events: ['*'], then: 'ignore', quiesce: 'auto', why: 'not a request' },
  ],
  limits: { instance: { open: 4, perHour: 30 }, project: { open: 100, perHour: 600 } },
}

export type Explained =
  | { decision: 'request'; rule: Rule; wishes: (TakeOver | TagWish)[]; reason: string }
  | { decision: 'note' | 'ignore'; rule: Rule | null; reason: string }

export interface TakeOver {
  is: 'take-over'
  /** null: a legacy notification, which does not say which image */
  image: string | null
}
export interface TagWish {
  is: 'tag'
  tag: string
  /** what follows `snapshot:`; null for the bare tag */
  name: string | null
}

/** What the rules make of a notification. Pure: whether the wish still stands is for `ingest` to ask Nova. */
export function explain(heard: Notification, { rules }: Rules): Explained {
  const found = rules.find((r) => matches(r, heard))
  if (!found) return { decision: 'ignore', rule: null, reason: 'no rule matches' }
  if (found.then === 'ignore') return { decision: 'ignore', rule: found, reason: found.why }
  if (!heard.instance) return { decision: 'ignore', rule: found, reason: 'it names no instance' }
  if (found.then === 'note') return { decision: 'note', rule: found, reason: found.why }
  if (!heard.project) return { decision: 'ignore', rule: found, reason: 'it names no project' }
  if (found.then === 'take-over') {
    return { decision: 'request', rule: found, wishes: [{ is: 'take-over', image: heard.image }], reason: found.why }
  }
  if (heard.tags === null) return { decision: 'ignore', rule: found, reason: 'legacy notifications carry no tags' }
  const wishes = tagWishes(heard.tags)
  if (wishes.length === 0)
    return { decision: 'ignore', rule: found, reason: 'the server does not bear the tag snapshot or snapshot:NAME' }
  return {
    decision: 'request',
    rule: found,
    wishes,
    reason: `the server bears the tag ${wishes.map((w) => w.tag).join(', ')}`,
  }
}

export const requestTag = 'snapshot'
const namedTag = /^snapshot:(?<name>.+)$/s

export function tagWishes(tags: string[]): TagWish[] {
  return [...new Set(tags)].flatMap((tag): TagWish[] => {
    if (tag === requestTag) return [{ is: 'tag', tag, name: null }]
    const name = namedTag.exec(tag)?.groups?.['name']
    return name === undefined ? [] : [{ is: 'tag', tag, name }]
  })
}

/** The run of a wish as far as a notification alone can tell; null for a legacy take-over, whose image Glance must name. */
export function runOfTakeOver(wish: TakeOver): string | null {
  return wish.image === null ? null : takeOverRun(wish.image)
}

function matches(r: Rule, heard: Notification): boolean {
  const isProject = !r.projects || (heard.project !== null && r.projects.includes(heard.project))
  return isProject && r.events.some((pattern) => glob(pattern, heard.event))
}

function glob(pattern: string, text: string): boolean {
  const [first = '', ...rest] = pattern.split('*')
  if (rest.length === 0) return pattern === text
  if (!text.startsWith(first)) return false
  let at = first.length
  for (const [i, part] of rest.entries()) {
    const found = i === rest.length - 1 ? Math.max(text.length - part.length, at) : text.indexOf(part, at)
    if (found < at || !text.startsWith(part, found)) return false
    at = found + part.length
  }
  return true
}
