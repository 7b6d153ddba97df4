/**
 * What a server's tags say of policies. `snapshot-on:ACTION` is a standing wish: a snapshot at each such event, until its owner
 * takes the tag off. `snapshot-keep:N` says how many images of a policy are kept.
 */
export const policyTag = (action: string) => `snapshot-on:${action}`

/**
 * ACTION is what follows `instance.` in Nova's versioned name of an event, without its phase. An `.error` is none: what was to
 * happen did not. Nova's tags have 60 characters (nova/objects/fields.py, nova/db/main/models.py Tag), 48 of them behind ours.
 */
const named = /^instance\.(?<action>[a-z_]{1,48})(?:\.(?:start|end))?$/

export function actionOf(event: string): string | null {
  return named.exec(event)?.groups?.['action'] ?? null
}

const keepTag = 'snapshot-keep:'
const count = /^[1-9]\d*$/

/** How many of the newest images a policy keeps, `all` with the reason in words. */
type Keep = { newest: number } | { all: string }

/** Of several numbers the largest counts. One that cannot be read keeps everything: nobody can say that it was meant smaller. */
export function keepOf(tags: string[]): Keep {
  const said = tags.flatMap((tag) => (tag.startsWith(keepTag) ? [tag.slice(keepTag.length)] : []))
  if (said.length === 0) return { all: `the server bears no tag ${keepTag}N` }
  if (!said.every((text) => count.test(text))) return { all: `a tag ${keepTag}N of the server does not say a number` }
  return { newest: Math.max(...said.map(Number)) }
}
