import { Failure } from '../../shared/failures.ts'
import { view, type RunView } from '../../shared/view.ts'
import { demoCloud, type DemoCloud } from './demo-cloud.ts'
import { acts, type Scene, type Staged } from './demo-scenes.ts'
import { printList, tell as say, type Output } from './output.ts'
import { untilAtRest } from './rest.ts'
import { openSession, type Session } from './session.ts'

/** A real standby manager takes over after 33 s (mon_mgr_beacon_grace); nobody wants to watch that. */
const standbyAfterMs = 6_000

/**
 * The whole job on the embedded cloud: a tenant's tags and createImage calls, captured notifications, and every fault that
 * a person would ask about. Each scene says what should become of it, and the world is looked at: 0 only when all of it is so.
 */
export async function demo(output: Output): Promise<number> {
  const startedAtMs = Date.now()
  say('demo: starting queue, cloud, functions and feeder on 127.0.0.1 ...')
  const session = await openSession({ cloud: { RBDSNAP_CLOUD_TAKEOVER_MS: String(standbyAfterMs) } })
  try {
    if (!session.own)
      throw new Failure(
        'BAD_REQUEST',
        'the demo kills parts of its stack; stop the one that runs over this folder first.',
      )
    say(`demo: up after ${seconds(Date.now() - startedAtMs)}`)
    const rows = []
    const told = new Map<string, string>()
    for (const act of acts) rows.push(...(await play(act, session, told)))
    const columns = [
      'scene',
      'trigger',
      'outcome',
      'consistency',
      'road',
      'frozen_ms',
      'usable_ms',
      'as_wanted',
      'reason',
    ]
    printList(rows, columns, output)
    const wrong = rows.filter((row) => row.as_wanted !== 'yes').length
    say(`demo: ${rows.length - wrong} of ${rows.length} scenes as wanted, after ${seconds(Date.now() - startedAtMs)}`)
    return wrong === 0 ? 0 : 1
  } finally {
    await session.close()
  }
}

async function play(act: Scene[], session: Session, told: Map<string, string>) {
  const cloud = await demoCloud(session)
  const staged: { scene: Scene; staged: Staged }[] = []
  for (const scene of act) {
    say(`-- ${scene.title}`)
    staged.push({ scene, staged: await scene.play(cloud, session) })
  }
  const names = new Map(staged.map(({ scene, staged: s }) => [s.instance, scene.title]))
  await untilAtRest(session, (run) => tell(run, names), told)
  return Promise.all(staged.map(({ scene, staged: s }) => judge(scene, s, cloud, session)))
}

function tell(run: RunView, names: Map<string, string>): void {
  const step = run.steps.at(-1)
  if (!step) return
  const ms = step.took_ms === null ? '' : ` ${step.took_ms} ms`
  const end = run.outcome === null ? '' : ` => ${run.outcome}${run.code === null ? '' : ` (${run.code})`}`
  say(`   ${(names.get(run.instance) ?? run.instance).padEnd(44)} ${step.step.padEnd(9)} ${step.outcome}${ms}${end}`)
}

async function judge(scene: Scene, staged: Staged, cloud: DemoCloud, session: Session) {
  const runs = (await session.journal.list(200)).filter((r) => r.wish.instance === staged.instance && staged.isOurs(r))
  const [record] = runs
  const run = record ? view(record) : null
  const wrong = run ? await scene.check(run, runs.length, cloud, staged) : 'no run came of it'
  return {
    scene: scene.title,
    trigger: run?.trigger ?? null,
    outcome: run?.outcome ?? null,
    consistency: run?.consistency ?? null,
    road: run?.road ?? null,
    frozen_ms: run?.frozen_ms ?? null,
    usable_ms: run?.usable_ms ?? null,
    as_wanted: wrong === null ? 'yes' : `NO: ${wrong}`,
    reason: run?.reason ?? run?.consistency_reason ?? null,
    run: run?.run ?? null,
    instance: staged.instance,
    image_id: run?.image_id ?? null,
    code: run?.code ?? null,
    steps: run?.steps ?? [],
  }
}

function seconds(ms: number): string {
  return `${(ms / 1000).toFixed(1)} s`
}
