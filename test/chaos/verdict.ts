import { visibilityMs } from '../../shared/drive.ts'
import type { RunRecord } from '../../shared/ports/journal.ts'
import { tagWishes } from '../../shared/rules.ts'
import type { Outages } from './outages.ts'
import type { Image, World } from './world.ts'

/** What is wrong with the world, each thing in words; all of it must be nothing. */
export interface Verdict {
  orphans: string[]
  duplicates: string[]
  overdue: string[]
  lost: string[]
  tooGood: string[]
  open: string[]
  bugs: string[]
}

/** The freeze's budget, and one redelivery of its thaw. */
export const mostFrozenMs = 5_000 + visibilityMs('thaw') + 2_000

export function verdictOn(world: World, outages: Outages): Verdict {
  return {
    orphans: [
      ...orphanVolumes(world),
      ...orphanSnapshots(world),
      ...orphanRecords(world),
      ...orphanTags(world),
      ...orphanFreezes(world),
    ],
    duplicates: duplicates(world),
    overdue: freezesOf(world, outages)
      .filter(({ reachableMs }) => reachableMs > mostFrozenMs)
      .map(
        (f) =>
          `${f.id} was frozen for ${Math.round(f.ms)} ms, ${Math.round(f.reachableMs)} of them with cloud and queue up`,
      ),
    lost: world.wishes.flatMap((wish) => lostOf(wish, world)),
    tooGood: world.tooGood,
    open: world.runs.filter((r) => r.outcome === null).map(sayRun),
    bugs: [
      ...world.runs.filter((r) => r.code === 'UNKNOWN').map(sayRun),
      ...world.parked.map((p) => `set aside: ${p.code} ${p.words}`),
    ],
  }
}

export function freezesOf({ guests }: World, outages: Outages): { id: string; ms: number; reachableMs: number }[] {
  return guests.flatMap(({ id, freezes }) =>
    freezes.map(({ frozenAtMs, thawedAtMs }) => ({ id, ...outages.between(frozenAtMs, thawedAtMs ?? Infinity) })),
  )
}

function sayRun({ wish, outcome, code, reason, message, hop }: RunRecord): string {
  return `run ${wish.run} of ${wish.instance} (${wish.trigger.is}, image ${wish.image}): ${outcome ?? `open at ${message.step}, hop ${hop}`} ${code ?? ''} ${reason ?? ''}`
}

/** A parked run keeps everything, until a person decides. */
const isParked = (run: RunRecord) => run.outcome === 'parked'
/** Of `rbdsnap-RUN`, and of whatever is called after it. */
const runOf = ({ runById }: World, name: string) => runById.get(name.slice('rbdsnap-'.length, 'rbdsnap-'.length + 36))

function orphanSnapshots(world: World): string[] {
  return world.volumes.flatMap(({ pool, name, snaps }) =>
    snaps
      .filter((snap) => snap.startsWith('rbdsnap-'))
      .filter((snap) => !isAccounted(runOf(world, snap)))
      .map((snap) => `${pool}/${name}@${snap}`),
  )
}

function isAccounted(run: RunRecord | undefined): boolean {
  return run !== undefined && (isParked(run) || run.outcome === null)
}

function orphanVolumes(world: World): string[] {
  const servers = new Set(world.servers.map(({ id }) => `${id}_disk`))
  return [
    ...world.trash.map((entry) => `in the trash: ${entry}`),
    ...world.volumes.flatMap(({ pool, name, parent, snaps }) => {
      const place = `${pool}/${name}`
      if (name.startsWith('rbdsnap-')) return isAccounted(runOf(world, name)) ? [] : [place]
      const run = world.runByImage.get(name)
      if (pool === 'images' && run && !isAccounted(run)) {
        const image = world.images.get(name)
        if (!image && !isNovas(run, parent)) return [`${place}, with no record`]
        if (image && parent?.snap.startsWith('rbdsnap-')) return [`${place}, a clone still`]
      }
      const isDisk = name.endsWith('_disk')
      if (isDisk && !servers.has(name) && snaps.length === 0 && world.deletedServers.has(name.replace(/_disk$/, '')))
        return [`${place}, whose server is gone`]
      return []
    }),
  ]
}

/** Nova's direct snapshot clones to the same name, and leaves its clone behind when it is killed. */
function isNovas({ wish, timeline }: RunRecord, parent: { snap: string } | null): boolean {
  if (parent) return !parent.snap.startsWith('rbdsnap-')
  return wish.trigger.is === 'take-over' && !timeline.some((s) => s.step === 'fallback')
}

function orphanRecords(world: World): string[] {
  return [...world.images.values()].flatMap((image) => {
    const run = world.runByImage.get(image.id)
    if (isAccounted(run)) return []
    const isOurs = image.rbdsnap_run !== undefined && run?.wish.run === image.rbdsnap_run
    if (isOurs && image.status !== 'active') return [`image ${image.id}, ${image.status}`]
    if (isOurs && image.protected && image.rbdsnap_owner_protected !== 'true') return [`image ${image.id}, protected`]
    const volume = world.volumes.find(({ pool, name }) => pool === 'images' && name === image.id)
    if (image.status === 'active' && !volume?.snaps.includes('snap'))
      return [`image ${image.id}, active with no volume`]
    return []
  })
}

function orphanTags(world: World): string[] {
  return world.servers.flatMap(({ id, tags }) =>
    tagWishes(tags).flatMap(({ tag }) => {
      const runs = world.runs.filter(
        (r) => r.wish.instance === id && r.wish.trigger.is === 'tag' && r.wish.trigger.tag === tag,
      )
      return runs.some(isAccounted) ? [] : [`the tag ${tag} on ${id}`]
    }),
  )
}

function orphanFreezes({ frozenLeases, guests, deletedServers }: World): string[] {
  return [
    ...frozenLeases.map((key) => `the note of a freeze, ${key}`),
    ...guests.filter((g) => g.isFrozen && !deletedServers.has(g.id)).map(({ id }) => `${id} is frozen still`),
  ]
}

function duplicates(world: World): string[] {
  const active = [...world.images.values()].filter((i) => i.status === 'active' && i.instance_uuid !== undefined)
  const named = Map.groupBy(
    active.filter(({ name }) => name.startsWith('chaos-')),
    ({ name }) => name,
  )
  const bare = Map.groupBy(
    active.filter(({ name }) => !name.startsWith('chaos-')),
    (i) => i.instance_uuid ?? '',
  )
  const asked = (server: string) => world.wishes.filter((w) => w.is === 'bare tag' && w.server === server).length
  const tagged = Map.groupBy(
    world.runs.filter(({ wish: w }) => w.trigger.is === 'tag' && w.trigger.tag !== 'snapshot'),
    ({ wish: w }) => `${w.instance} ${w.imageName}`,
  )
  return [
    ...[...named]
      .filter(([, images]) => images.length > 1)
      .map(([name, images]) => `${images.length} images called ${name}: ${images.map((i) => i.id).join(' ')}`),
    ...[...bare]
      .filter(([server, images]) => images.length > asked(server))
      .map(([server, images]) => `${images.length} images for ${asked(server)} bare tags of ${server}`),
    ...[...tagged]
      .filter(([, runs]) => runs.length > 1)
      .map(([key, runs]) => `${runs.length} runs for one tag: ${key}: ${runs.map(sayRun).join('; ')}`),
  ]
}

/** Neither an image nor a word about why not. What went with its server had nobody left to be told. */
function lostOf(wish: World['wishes'][number], world: World): string[] {
  if (world.deletedServers.has(wish.server)) return []
  if (wish.is === 'createImage') return lostImage(wish.name ?? '', world)
  const tag = wish.name === null ? 'snapshot' : `snapshot:${wish.name}`
  const runs = world.runs.filter(
    (r) => r.wish.instance === wish.server && r.wish.trigger.is === 'tag' && r.wish.trigger.tag === tag,
  )
  const same = world.wishes.filter((w) => w.server === wish.server && w.name === wish.name && w.is === wish.is)
  const isMissed = runs.length < same.length && same.indexOf(wish) >= runs.length
  const gone = runs.filter((r) => isMade(r) && world.images.get(r.wish.image)?.status !== 'active')
  return [
    ...(isMissed ? [`the tag ${tag} on ${wish.server} has no run`] : []),
    ...(same.indexOf(wish) === 0 ? gone.map((r) => `${sayRun(r)}, without its image`) : []),
  ]
}

const isMade = ({ outcome }: RunRecord) => outcome === 'active' || outcome === 'fallback'

function lostImage(name: string, world: World): string[] {
  const images: Image[] = [...world.images.values()].filter((image) => image.name === name)
  if (images.some(({ status }) => status === 'active')) return []
  const runs = world.runs.filter(({ wish }) => wish.trigger.is === 'take-over' && wish.imageName === name)
  const made = runs.filter(isMade).map((r) => `${sayRun(r)}, without its image`)
  // Nova said nothing when it died before, and nobody is there to ask.
  const unheard = images.filter(({ id }) => world.published.has(id) && !runs.some(({ wish }) => wish.image === id))
  return [...made, ...unheard.map(({ id, status }) => `image ${id} (${name}) is ${status} and has no run`)]
}
