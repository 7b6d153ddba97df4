import { readLab, type Lab } from '../../infra/lab/lab.ts'
import { cephOf } from './support/ceph.ts'
import { guestsOf } from './support/guests.ts'
import { imagesOf } from './support/images.ts'
import { signIn } from './support/rest.ts'
import { serversOf } from './support/servers.ts'

/**
 * The books of a cloud at rest: every volume, snapshot, image, tag and frozen guest has a server or an image that accounts for
 * it, or stands in the list. `node test/lab/accounting.ts` prints the list and fails when it is not empty; with nobody at work
 * there are also no servers, and no images but the lab's own.
 *
 * @param concerns whose volumes and guests are looked at, by their names: a look at one costs a tenth of a second
 */
export async function unaccounted(lab: Lab, concerns: (name: string) => boolean = () => true): Promise<string[]> {
  const rest = signIn(lab, lab.people.admin)
  const ceph = cephOf(lab)
  const { disks, images: imagePool } = lab.ceph.pools
  const [servers, images] = await Promise.all([
    serversOf(lab, rest).listAll(),
    imagesOf(rest, lab.glance.internal).list(),
  ])
  return [
    ...(await strayDisks(new Set(servers.map((s) => s.id)))),
    ...(await strayVolumes(new Set(images.map((i) => i.id)))),
    ...(await trash()),
    ...images.flatMap((image) => [
      ...(image.status === 'active' ? [] : [`image ${image.id} (${image.name}) is ${image.status}`]),
      ...(image.protected ? [`image ${image.id} (${image.name}) is protected`] : []),
    ]),
    ...servers.flatMap((server) => [
      ...server.tags
        .filter((tag) => /^snapshot(:|$)/.test(tag))
        .map((tag) => `server ${server.id} bears the tag ${tag}`),
      ...(server['OS-EXT-STS:task_state'] === null
        ? []
        : [`server ${server.id} is ${server['OS-EXT-STS:task_state']}`]),
    ]),
    ...(await frozenGuests()),
  ]

  /** Nova names a root disk by its server; at rest nobody has a snapshot on it. */
  async function strayDisks(known: Set<string>): Promise<string[]> {
    return strays(
      disks,
      (name) => known.has(name.replace(/_disk$/, '')),
      [],
      () => false,
    )
  }

  /** Glance names a volume by its image, with one snapshot `snap`; a parent in the disks' pool is a flatten that is still due. */
  async function strayVolumes(known: Set<string>): Promise<string[]> {
    return strays(
      imagePool,
      (name) => known.has(name),
      ['snap'],
      (parent) => parent.startsWith(`${disks}/`),
    )
  }

  async function strays(
    pool: string,
    hasOwner: (name: string) => boolean,
    snapsOfOwner: string[],
    isStrayParent: (parent: string) => boolean,
  ): Promise<string[]> {
    const found: string[] = []
    for (const name of (await ceph.volumes(pool)).filter(concerns)) {
      if (!hasOwner(name)) found.push(`volume ${pool}/${name}`)
      const volume = await ceph.find(pool, name)
      for (const snap of volume?.snaps ?? [])
        if (!snapsOfOwner.includes(snap.name)) found.push(`snapshot ${pool}/${name}@${snap.name}`)
      if (volume?.parent != null && isStrayParent(volume.parent)) found.push(`link ${pool}/${name} to ${volume.parent}`)
    }
    return found
  }

  async function trash(): Promise<string[]> {
    const pools = await Promise.all([disks, imagePool].map(async (p) => (await ceph.trash(p)).map((n) => `${p}/${n}`)))
    return pools.flat().map((name) => `trash ${name}`)
  }

  async function frozenGuests(): Promise<string[]> {
    const guests = guestsOf(lab)
    const states = await Promise.all(
      (await guests.running()).filter(concerns).map(async (id) => ({ id, state: await guests.freezeState(id) })),
    )
    return states.flatMap(({ id, state }) => (state === 'frozen' ? [`guest ${id} is frozen`] : []))
  }
}

/** What a lab that nobody uses holds beyond its own images. */
async function inUse(lab: Lab): Promise<string[]> {
  const rest = signIn(lab, lab.people.admin)
  const own = new Set(Object.values(lab.images))
  const ownProjects = new Set(Object.values(lab.people).map(({ projectId }) => projectId))
  const [servers, images, { projects }, queues] = await Promise.all([
    serversOf(lab, rest).listAll(),
    imagesOf(rest, lab.glance.internal).list(),
    rest.must<{ projects: { id: string; name: string }[] }>('GET', `${lab.authUrl}/projects`),
    ourQueues(lab),
  ])
  return [
    ...servers.map((s) => `server ${s.id} (${s.name}) of project ${s.tenant_id}`),
    ...images.filter((i) => !own.has(i.id)).map((i) => `image ${i.id} (${i.name}) of project ${i.owner}`),
    ...projects.filter((p) => !ownProjects.has(p.id)).map((p) => `project ${p.id} (${p.name})`),
    ...queues.map((name) => `queue ${name} on the bus`),
  ]
}

/** A bridge's own queue, or one for replies, that nobody serves any more would fill up. */
async function ourQueues({ bus }: Lab): Promise<string[]> {
  const { origin, username, password } = new URL(bus.managementUrl)
  const authorization = `Basic ${Buffer.from(`${username}:${password}`).toString('base64')}`
  const answer = await fetch(`${origin}/api/queues/%2F`, { headers: { authorization } })
  const queues = (await answer.json()) as { name: string }[]
  return queues.map(({ name }) => name).filter((name) => /^(rbdsnap|reply_rbdsnap)/.test(name))
}

if (import.meta.main) {
  const lab = readLab()
  const left = [...(await unaccounted(lab)), ...(await inUse(lab))]
  for (const line of left) process.stdout.write(`${line}\n`)
  process.stdout.write(left.length === 0 ? 'everything is accounted for\n' : `${left.length} not accounted for\n`)
  process.exitCode = left.length === 0 ? 0 : 1
}
