import { sqlite } from '../../shared/adapters/sqlite.ts'
import { Failure } from '../../shared/failures.ts'
import { imageOf, policyRun, tagRun } from '../../shared/names.ts'
import { hear } from '../../shared/notification.ts'
import { explain, runOfTakeOver, type PolicyWish, type Rules } from '../../shared/rules.ts'
import type { Notification } from '../../shared/run.ts'

/** What rbdsnap would make of a notification, without asking or touching anything but the journal, read. */
export interface Explanation {
  file: string
  event_type: string | null
  format: 'versioned' | 'legacy' | null
  /** `ask`: only Nova knows whether the server bears the tag of the policy */
  decision: 'request' | 'ask' | 'note' | 'ignore' | 'park'
  rule: string | null
  run: string | null
  instance: string | null
  image_id: string | null
  reason: string
  code: 'BAD_NOTIFICATION' | null
}

/** How often a tag of an instance has been served, as far as the caller can tell. */
export type TagEpoch = (instance: string, tag: string) => Promise<number>

export function tagEpochs(journalPath: string | null): TagEpoch {
  if (journalPath === null) return () => Promise.resolve(1)
  return async (instance, tag) => {
    const { journal, close } = sqlite(journalPath)
    try {
      return await journal.tagEpoch(instance, tag)
    } finally {
      close()
    }
  }
}

/** One explanation a wish: a notification may carry several tags, and be a policy's event besides. */
export async function explainBody(
  file: string,
  body: unknown,
  rules: Rules,
  tagEpoch: TagEpoch,
): Promise<Explanation[]> {
  const heard = hear(body)
  if (heard.is === 'unreadable') return [unreadable(file, heard.why)]
  if (heard.is !== 'notification') throw new Failure('UNKNOWN', `a body was heard as ${heard.is}.`)
  const explained = explain(heard, rules)
  const policy = explained.policy ? [ofPolicy(file, heard, explained.policy)] : []
  if (explained.decision === 'ignore' && policy.length > 0) return policy
  const base = {
    ...common(file, heard),
    decision: explained.decision,
    rule: explained.rule?.name ?? null,
    reason: explained.reason,
  }
  if (explained.decision !== 'request') return [{ ...base, run: null, image_id: heard.image }, ...policy]
  const wishes = await Promise.all(
    explained.wishes.map(async (wish) => {
      if (wish.is === 'take-over') return { ...base, run: runOfTakeOver(wish), image_id: wish.image }
      const instance = heard.instance ?? ''
      const run = tagRun(instance, wish.tag, await tagEpoch(instance, wish.tag))
      return { ...base, run, image_id: imageOf(run, 1) }
    }),
  )
  return [...wishes, ...policy]
}

function ofPolicy(file: string, heard: Notification, { action, tag, rule }: PolicyWish): Explanation {
  const run = policyRun(heard.instance ?? '', action, heard.atMs)
  const isKnown = heard.tags !== null
  const reason = isKnown
    ? `the server bears the tag ${tag}`
    : `a policy's run begins if Nova shows the tag ${tag} on the server; this notification carries no tags`
  const decision = isKnown ? 'request' : 'ask'
  return { ...common(file, heard), decision, rule: rule.name, run, image_id: imageOf(run, 1), reason }
}

function common(file: string, heard: Notification) {
  return { file, event_type: heard.eventType, format: heard.format, instance: heard.instance, code: null }
}

function unreadable(file: string, why: string): Explanation {
  return {
    file,
    event_type: null,
    format: null,
    decision: 'park',
    rule: null,
    run: null,
    instance: null,
    image_id: null,
    reason: why,
    code: 'BAD_NOTIFICATION',
  }
}
