import * as z from 'zod/mini'
import { quiescePolicy, type Notification } from './run.ts'
import { takeOverRun } from './names.ts'
import { actionOf, policyTag } from './policy-tags.ts'

/**
 * Which notification asks for what. Rules are data: the first that matches decides, and `rbdsnap explain` says which. A policy is
 * heard besides: it passes its event on, so that what the rules below it make of the event does not change by it.
 * Event names are Nova's versioned ones, legacy names are translated first (shared/notification.ts); `*` stands for anything.
 */
const rule = z.object({
  name: z.string().check(z.minLength(1), z.maxLength(64)),
  events: z.array(z.string().check(z.maxLength(255))).check(z.minLength(1)),
  /** only for these projects; all when it is not there */
  projects: z.optional(z.array(z.string())),
  then: z.enum(['take-over', 'tag', 'policy', 'note', 'ignore']),
  quiesce: z._default(z.union([quiescePolicy, z.literal('auto')]), 'auto'),
  why: z.string().check(z.maxLength(255)),
})
export type Rule = z.infer<typeof rule>

/** The start and the end of one action are two events, and would be two runs; a `*` stands for both. */
function haveOneEventEach(rules: Rule[]): boolean {
  const events = new Set(rules.flatMap((r) => (r.then === 'policy' ? r.events : [])))
  const actions = new Set([...events].map(actionOf))
  return actions.size === events.size && !actions.has(null)
}

const limit = z.object({ open: z.int().check(z.positive()), perHour: z.int().check(z.positive()) })

export const rulesSchema = z.object({
  rules: z
    .array(rule)
    .check(
      z.minLength(1),
      z.refine(haveOneEventEach, { error: 'a policy names its events in full, and each action by one event' }),
    ),
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
      name: 'policy',
      // When the disk is quiet and still there: the guest is off, or saved, at the end of what stops it; a soft-deleted server keeps
      // its disk until it is reclaimed; a shelve takes the disk away at its own end (shelved_offload_time = 0, Nova's default).
      events: [
        'instance.power_off.end',
        'instance.pause.end',
        'instance.suspend.end',
        'instance.soft_delete.end',
        'instance.shelve.start',
      ],
      then: 'policy',
      quiesce: 'auto',
      why: 'a standing wish, if the server bears the tag snapshot-on:ACTION',
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

export type Explained = Decided & {
  /** asked for besides, if Nova shows its tag on the server */
  policy: PolicyWish | null
}
type Decided =
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

export interface PolicyWish {
  is: 'policy'
  action: string
  /** that the server must bear */
  tag: string
  rule: Rule
}

/** What the rules make of a notification. Pure: whether the wish still stands is for `ingest` to ask Nova. */
export function explain(heard: Notification, { rules }: Rules): Explained {
  const matching = rules.filter((r) => matches(r, heard))
  const at = matching.findIndex((r) => r.then !== 'policy')
  const policy = policyOf(heard, at === 0 ? undefined : matching[0])
  return { ...decided(heard, matching[at]), policy }
}

/** Only instance.update and instance.create.* carry tags (InstanceUpdatePayload, InstanceCreatePayload); of the rest Nova is asked. */
function policyOf({ event, instance, project, tags }: Notification, rule: Rule | undefined): PolicyWish | null {
  const action = actionOf(event)
  if (!rule || action === null || !instance || !project) return null
  const tag = policyTag(action)
  return tags === null || tags.includes(tag) ? { is: 'policy', action, tag, rule } : null
}

function decided(heard: Notification, found: Rule | undefined): Decided {
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
/** Half of a surrogate pair is no text: no URL can name such a tag, so it could never be taken off. */
const namedTag = /^snapshot:(?<name>\P{Surrogate}+)$/u

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
