import { setTimeout as sleep } from 'node:timers/promises'
import type { Session } from '../../infra/cli/session.ts'
import { tagRun, uuidv5 } from '../../shared/names.ts'
import { chance, pick } from '../support/chance.ts'
import type { Stage } from './stage.ts'

/** What was asked for, by whichever door; `isSure` is false while nobody can say whether Nova heard it. */
export interface Wish {
  is: 'tag' | 'bare tag' | 'createImage'
  server: string
  /** of the image; of a bare tag the product chooses it */
  name: string | null
}

interface Server {
  id: string
  kind: Kind
  mostOpen: number
}

interface Kind {
  name: string
  disk: 'clone' | 'flat' | 'no-layering' | 'other-cluster'
  agent: 'on' | 'none' | 'stopped'
  saysAgent?: boolean
  requireQuiesce?: boolean
  count: number
  /** runs at once: those with a freeze wait for each other */
  mostOpen: number
}

const kinds: Kind[] = [
  { name: 'plain', disk: 'clone', agent: 'none', count: 8, mostOpen: 24 },
  { name: 'flat', disk: 'flat', agent: 'none', count: 4, mostOpen: 16 },
  { name: 'frozen', disk: 'clone', agent: 'on', count: 8, mostOpen: 4 },
  { name: 'required', disk: 'clone', agent: 'on', requireQuiesce: true, count: 2, mostOpen: 3 },
  { name: 'silent', disk: 'clone', agent: 'stopped', saysAgent: true, count: 1, mostOpen: 2 },
  { name: 'copied', disk: 'no-layering', agent: 'none', count: 1, mostOpen: 3 },
  { name: 'uploaded', disk: 'other-cluster', agent: 'none', count: 1, mostOpen: 2 },
]
const sizeGib = 1 / 16

/** Tenants who ask for snapshots, by tag and by createImage, more than are done at once; and delete servers meanwhile. */
export interface Tenants {
  wishes: Wish[]
  deleted: Set<string>
  stop: () => Promise<void>
}

export async function startTenants(stage: Stage, seed: number, mostOpen: number): Promise<Tenants> {
  const { cloud, session } = stage
  const servers: Server[] = []
  const wishes: Wish[] = []
  const deleted = new Set<string>()
  const stopping = { isStopped: false }
  let born = 0

  async function boot(kind: Kind): Promise<Server> {
    const id = uuidv5(`chaos/${seed}/server/${born++}`)
    const { name, count: _, mostOpen: most, ...wanted } = kind
    await untilDone(() => cloud.addServer({ id, sizeGib, ...wanted, name: `${name}-${id.slice(0, 8)}` }))
    return { id, kind, mostOpen: most }
  }

  /** Again until it is known to be heard: what was asked of a cloud that died then may have been done, and must not be done twice. */
  async function once(ask: () => Promise<unknown>, isHeard: () => Promise<boolean>): Promise<boolean> {
    for (;;) {
      try {
        await ask()
        return true
      } catch (error) {
        if (isRefusal(error)) return false
        await sleep(200)
        if (await untilDone(isHeard)) return true
      }
    }
  }

  const tagsOf = async (server: string) =>
    (await cloud.control<{ tags: string[]; vmState: string }>('GET', `/servers/${server}`)).tags

  async function wish(n: number): Promise<void> {
    const server = pick(servers, seed, n, 20)
    if (!server || (await session.journal.openOf(server.id)).length >= server.mostOpen) return
    const lot = chance(seed, n, 21)
    const { id } = server
    const name = `chaos-${n}`
    if (lot < 0.04) {
      if ((await tagsOf(id)).includes('snapshot')) return
      const isHeard = async () => (await tagsOf(id)).includes('snapshot')
      if (await once(() => cloud.tag(id, 'snapshot'), isHeard)) wishes.push({ is: 'bare tag', server: id, name: null })
    } else if (lot < 0.7) {
      const tag = `snapshot:${name}`
      const isHeard = async () =>
        (await tagsOf(id)).includes(tag) || (await session.journal.find(id, tagRun(id, tag, 1))) !== null
      if (await once(() => cloud.tag(id, tag), isHeard)) wishes.push({ is: 'tag', server: id, name })
    } else if (lot < 0.985) {
      const isHeard = async () => (await cloud.images()).some((image) => image.name === name)
      if (await once(() => cloud.act(id, { createImage: { name } }), isHeard))
        wishes.push({ is: 'createImage', server: id, name })
    } else {
      servers.splice(servers.indexOf(server), 1)
      deleted.add(id)
      await untilDone(() =>
        cloud.deleteServer(id).catch((error: unknown) => (isRefusal(error) ? null : Promise.reject(error as Error))),
      )
      servers.push(await boot(server.kind))
    }
  }

  // the servers that the embedded cloud begins with bear tags of their own
  for (const { id } of await cloud.control<{ id: string }[]>('GET', '/servers'))
    await cloud.control('PUT', `/servers/${id}`, { tags: [] })
  for (const kind of kinds) for (let i = 0; i < kind.count; i++) servers.push(await boot(kind))
  const asking = (async () => {
    for (let n = 0; !stopping.isStopped; n++) {
      // the cloud, the queue or the journal is away for a moment
      const isEnough = await isEnoughOpen(session, mostOpen).catch(() => true)
      if (!isEnough) await wish(n).catch(() => sleep(100))
      await sleep(isEnough ? 300 : 30)
    }
  })()
  return {
    wishes,
    deleted,
    async stop() {
      stopping.isStopped = true
      await asking
    },
  }
}

/** Runs that go on, and notifications of which nobody knows yet what they ask for. */
async function isEnoughOpen({ journal, depthOf }: Session, mostOpen: number): Promise<boolean> {
  const open = (await journal.counts()).reduce((sum, c) => sum + (c.outcome === null ? c.runs : 0), 0)
  return open >= mostOpen || ((await depthOf('ingest')) ?? Infinity) >= mostOpen
}

/** Nova's answer, and not the silence of a cloud that is away. */
function isRefusal(error: unknown): boolean {
  return error instanceof Error && / 4\d\d /.test(error.message)
}

async function untilDone<T>(act: () => Promise<T>): Promise<T> {
  for (;;) {
    try {
      return await act()
    } catch {
      await sleep(200)
    }
  }
}
