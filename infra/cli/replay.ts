import { hear } from '../../shared/notification.ts'
import type { RunRecord } from '../../shared/ports/journal.ts'
import { messageVersion } from '../../shared/run.ts'
import { explain, type PolicyWish, type Rules } from '../../shared/rules.ts'
import { view, type RunView } from '../../shared/view.ts'
import { progress } from './output.ts'
import type { EventFile } from './event-files.ts'
import type { Session } from './session.ts'
import { untilAtRest } from './rest.ts'

/** What became of a notification that asked for something, or could not be read. A run, or the reason why there is none. */
export type Replayed = RunView | Ignored

interface Ignored {
  run: null
  instance: string | null
  image_id: string | null
  trigger: RunView['trigger'] | null
  outcome: 'ignored' | 'parked'
  consistency: null
  reason: string
  code: string | null
  frozen_ms: null
  usable_ms: null
  steps: []
  file: string
}

/** Sends the events to the first queue, in order, waits until every run has ended, and says what became of each wish. */
export async function replay(events: EventFile[], session: Session, rules: Rules): Promise<Replayed[]> {
  for (const { path, body } of events) {
    const heard = hear(body)
    progress(`replay ${path}: ${heard.is === 'notification' ? heard.eventType : 'unreadable'}`)
    await session.queue.send({ v: messageVersion, step: 'ingest', tries: 0, heard })
  }
  await untilAtRest(session)
  const found = await Promise.all(events.map((event) => whatBecameOf(event, session, rules)))
  const seen = new Set<string>()
  return found.flat().filter((r) => {
    if (r.run === null) return true
    if (seen.has(r.run)) return false
    seen.add(r.run)
    return true
  })
}

async function whatBecameOf({ path, body }: EventFile, session: Session, rules: Rules): Promise<Replayed[]> {
  const heard = hear(body)
  if (heard.is === 'unreadable') return [none(path, 'parked', heard.why, 'BAD_NOTIFICATION')]
  if (heard.is !== 'notification' || !heard.instance) return []
  const explained = explain(heard, rules)
  if (explained.decision !== 'request' && !explained.policy) return []
  // Also what was refused to another project than the instance's: that stands in the journal under the project that was named.
  const isAsked = ({ wish }: RunRecord) => wish.instance === heard.instance && wish.project === heard.project
  const runs = (await session.journal.list(10_000)).filter(isAsked)
  // Almost every server has no policy: of its events there is nothing to tell.
  const ofPolicy = runs.filter((r) => isPolicyOf(r, heard.atMs, explained.policy)).map(view)
  if (explained.decision !== 'request') return ofPolicy
  const asked = explained.wishes.flatMap((wish): Replayed[] => {
    const own = runs.filter((r) => (wish.is === 'take-over' ? isTakeOverOf(r, wish.image) : isTagOf(r, wish.tag)))
    const latest = own[0]
    if (latest) return [view(latest)]
    if (wish.is === 'take-over' && wish.image === null) return []
    const reason =
      wish.is === 'tag'
        ? `Nova does not show the tag ${wish.tag} on this server (any more); nothing was done`
        : 'Glance does not have the image that Nova was about to fill (any more); nothing was done'
    const image = wish.is === 'take-over' ? wish.image : null
    return [{ ...none(path, 'ignored', reason, null), instance: heard.instance, image_id: image, trigger: wish.is }]
  })
  return [...asked, ...ofPolicy]
}

function isPolicyOf({ wish: { trigger } }: RunRecord, atMs: number, policy: PolicyWish | null): boolean {
  return trigger.is === 'policy' && trigger.action === policy?.action && trigger.atMs === atMs
}

function isTakeOverOf({ wish }: RunRecord, image: string | null): boolean {
  return wish.trigger.is === 'take-over' && wish.image === image
}

function isTagOf({ wish }: RunRecord, tag: string): boolean {
  return wish.trigger.is === 'tag' && wish.trigger.tag === tag
}

function none(file: string, outcome: Ignored['outcome'], reason: string, code: string | null): Ignored {
  return {
    run: null,
    instance: null,
    image_id: null,
    trigger: null,
    outcome,
    consistency: null,
    reason,
    code,
    frozen_ms: null,
    usable_ms: null,
    steps: [],
    file,
  }
}
