import { readLab, type Lab, type Person } from '../../../infra/lab/lab.ts'
import { unaccounted } from '../accounting.ts'
import { cephOf, type Ceph } from './ceph.ts'
import { startEngine, type Engine, type EngineOptions } from './engine.ts'
import { guestsOf, type Guests } from './guests.ts'
import { imagesOf, type Images } from './images.ts'
import { novaSaid } from './nova-log.ts'
import { signIn } from './rest.ts'
import { serversOf, type Servers } from './servers.ts'
import { newTenant } from './tenants.ts'
import { waitFor } from './wait.ts'

/**
 * The scene of one test file: a tenant in a project of its own, the administrators' hands, Ceph's and the guests' own view, and
 * an engine that serves only this project. What was booted or made is remembered, so that at the end everything in the cloud
 * that bears one of those ids can be accounted for, and taken away.
 */
export interface Story {
  lab: Lab
  tenant: Person
  /** the tenant's hands */
  servers: Servers
  images: Images
  /** the administrator's; `admin.images` shows locations */
  admin: { servers: Servers; images: Images }
  ceph: Ceph
  guests: Guests
  engine: Engine
  boot(name: string, image: string, flavor?: string): Promise<string>
  /** An id that leftovers would bear. `boot` remembers its servers; the engine's runs and their images are known as well. */
  remember(id: string): void
  /** What bears one of this story's ids and is accounted for by no server, image or open run; waits a little for it to go. */
  leftovers(): Promise<string[]>
  /** Deletes the tenant's servers and images, stops the engine, and fails when something is left. */
  close(): Promise<void>
}

export async function openStory(options: Omit<EngineOptions, 'projects'> = {}): Promise<Story> {
  const lab = readLab()
  const { person, remove } = await newTenant(lab)
  const rest = signIn(lab, person)
  const adminRest = signIn(lab, lab.people.admin)
  const servers = serversOf(lab, rest)
  const images = imagesOf(rest, lab.glance.public)
  const engine = await startEngine(lab, { ...options, projects: [person.projectId] }).catch(async (error: unknown) => {
    await remove()
    throw error
  })
  const known = new Set<string>()

  const story: Story = {
    lab,
    tenant: person,
    servers,
    images,
    admin: { servers: serversOf(lab, adminRest), images: imagesOf(adminRest, lab.glance.internal) },
    ceph: cephOf(lab),
    guests: guestsOf(lab),
    engine,
    async boot(name, image, flavor) {
      const id = await servers.boot(name, image, flavor)
      known.add(id)
      return id
    },
    remember: (id) => void known.add(id),
    async leftovers() {
      const look = async () => {
        const runs = await engine.journal.list(1_000)
        const ids = [...known, ...runs.flatMap((run) => [run.wish.run, run.wish.image, run.wish.instance])]
        const isOurs = (text: string) => ids.some((id) => text.includes(id))
        const found = await unaccounted(lab, isOurs)
        const open = runs.filter((run) => run.outcome === null).map((run) => `run ${run.wish.run} is open`)
        return [...open, ...found.filter(isOurs)]
      }
      try {
        return await waitFor('nothing is left', look, (found) => found.length === 0, settlesWithinMs)
      } catch {
        return look()
      }
    },
    async close() {
      let left: string[] | null = null
      try {
        for (const { id } of await servers.list()) await servers.delete(id)
        for (const { id, owner } of await images.list()) if (owner === person.projectId) await images.delete(id)
        left = await story.leftovers()
      } finally {
        await engine.stop(process.env['RBDSNAP_STORY_KEEP'] !== undefined || left === null || left.length > 0)
        await remove()
      }
      if (left.length > 0)
        throw new Error([`left in the cloud: ${left.join('; ')}`, ...novaSaid([...known])].join('\n'))
    },
  }
  return story
}

/** Nova goes on removing a disk for a while after its server is gone. */
const settlesWithinMs = 30_000
