import { spawn } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { readEvents } from '../../infra/cli/event-files.ts'
import { replay, type Replayed } from '../../infra/cli/replay.ts'
import { openSession, type Session } from '../../infra/cli/session.ts'
import { embeddedParts } from '../../infra/embedded/parts.ts'
import { defaultRules } from '../../shared/rules.ts'
import { sqlite } from '../../shared/adapters/sqlite.ts'

/** The whole stack with real processes: serverless-offline, SQS, the embedded cloud; killed, and started again. */
const root = resolve(import.meta.dirname, '../..')
const events = readEvents([join(root, 'events')])
const wholeReplayMs = 180_000

let dataDir = ''
beforeEach(() => {
  dataDir = mkdtempSync(join(tmpdir(), 'rbdsnap-e2e-'))
  process.env['RBDSNAP_DATA_DIR'] = dataDir
})
afterEach(() => {
  delete process.env['RBDSNAP_DATA_DIR']
  rmSync(dataDir, { recursive: true, force: true })
})

describe('events/ through the whole stack', () => {
  it(
    'ends in one active image for each wish, and a second time makes no new one',
    { timeout: wholeReplayMs },
    async () => {
      const first = await inStack(async (session) => ({
        runs: await replay(events, session, defaultRules),
        world: await worldOf(session),
      }))
      expect(outcomesOf(first.runs)).toEqual(wantedOutcomes)
      expect(first.world.leftovers).toEqual([])
      const second = await inStack(async (session) => {
        await replay(events, session, defaultRules)
        return worldOf(session)
      })
      expect(second).toEqual(first.world)
    },
  )

  it.each(embeddedParts)(
    'comes to the same end when %s is killed in the middle',
    { timeout: wholeReplayMs },
    async (part) => {
      const end = await inStack(async (session) => {
        const replayed = replay(events, session, defaultRules)
        await untilARunIsAt(['snapshot', 'clone'])
        process.kill(session.own?.pid(part) ?? 0, 'SIGKILL')
        return { runs: await replayed, world: await worldOf(session) }
      })
      expect(outcomesOf(end.runs)).toEqual(wantedOutcomes)
      expect(end.world.leftovers).toEqual([])
    },
  )

  it('comes to the same end when the command is killed and run again', { timeout: wholeReplayMs }, async () => {
    const command = spawn(process.execPath, [join(root, 'infra/cli/rbdsnap.ts'), 'replay', join(root, 'events')], {
      stdio: 'ignore',
    })
    await untilARunIsAt(['snapshot', 'clone'])
    command.kill('SIGKILL')
    await new Promise((done) => command.once('exit', done))
    const end = await inStack(async (session) => ({
      runs: await replay(events, session, defaultRules),
      world: await worldOf(session),
    }))
    expect(outcomesOf(end.runs)).toEqual(wantedOutcomes)
    expect(end.world.leftovers).toEqual([])
  })
})

/** What events/README.md says of the requests in it, in the order of the files. */
const wantedOutcomes = ['active', 'active', 'active', 'active', 'active', 'active']

async function inStack<T>(act: (session: Session) => Promise<T>): Promise<T> {
  const session = await openSession({ cloud: { RBDSNAP_CLOUD_PAXOS_PROPOSE_INTERVAL_MS: '300' } })
  try {
    return await act(session)
  } finally {
    await session.close()
  }
}

function outcomesOf(runs: Replayed[]): (string | null)[] {
  return runs.map((r) => r.outcome)
}

interface World {
  clusters: Record<string, { pools: Record<string, { name: string; snaps?: { name: string }[] }[]> }>
  images: { id: string; status: string; protected: boolean }[]
  servers: { id: string; tags: string[] }[]
}

/** The images that are active, and whatever of ours is there besides them. */
async function worldOf(session: Session): Promise<{ active: string[]; leftovers: string[] }> {
  const { clusters, images, servers } = (await (await fetch(`${session.controlUrl ?? ''}/world`)).json()) as World
  const volumes = Object.values(clusters).flatMap((c) => Object.values(c.pools).flat())
  const leftovers = [
    ...volumes
      .flatMap((v) => (v.snaps ?? []).map((s) => `${v.name}@${s.name}`))
      .filter((name) => name.includes('rbdsnap-')),
    ...volumes.map((v) => v.name).filter((name) => name.startsWith('rbdsnap-')),
    ...servers.flatMap((s) => s.tags.filter((tag) => tag.startsWith('snapshot')).map((tag) => `tag ${tag} on ${s.id}`)),
    ...images.filter((i) => i.status === 'active' && i.protected).map((i) => `protection of ${i.id}`),
  ]
  return { active: images.flatMap((i) => (i.status === 'active' ? [i.id] : [])).sort(), leftovers }
}

async function untilARunIsAt(steps: string[]): Promise<void> {
  const endAtMs = Date.now() + 60_000
  for (;;) {
    if (await isARunAt(steps)) return
    if (Date.now() > endAtMs) throw new Error(`no run came to ${steps.join(' or ')} within a minute`)
    await new Promise((done) => setTimeout(done, 10))
  }
}

async function isARunAt(steps: string[]): Promise<boolean> {
  const { journal, close } = sqlite(join(dataDir, 'journal.sqlite'))
  try {
    return (await journal.overdue(Number.MAX_SAFE_INTEGER, 100)).some((r) => steps.includes(r.message.step))
  } finally {
    close()
  }
}
