import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { evidenceOf, hangAgent, startAgent, stopAgent, wakeAgent } from '../../infra/lab/guest.ts'
import { readLab } from '../../infra/lab/lab.ts'
import type { RunRecord } from '../../shared/ports/journal.ts'
import { guestWrites } from './support/console.ts'
import { privateCopyOf } from './support/disks.ts'
import type { Image } from './support/images.ts'
import { ask, endOf } from './support/moments.ts'
import { openStory, type Story } from './support/story.ts'
import { waitFor } from './support/wait.ts'

/**
 * Guests as they are: some have no agent, some have one that does not answer, and people pause, stop and reboot them while we
 * work. The image says what it is worth, a guest is never left frozen, and who wants nothing less than a freeze gets nothing less.
 */
const within = { timeout: 300_000 }

describe('through Nova, on its own bus', () => {
  let story: Story
  let server = ''
  let base = ''
  beforeAll(async () => {
    story = await openStory()
    base = await privateCopyOf(story, story.lab.images.agent, 'guests-base')
    server = await story.boot('guests', base)
    await untilAgentAnswers(story, server)
  })
  afterAll(() => story.close())

  it('a guest whose agent was stopped is snapshotted as it is, and the image says why', within, async () => {
    await stopAgent(story.lab, server)
    const { image } = await snapshotted(story, server, 'stopped-agent')
    expect(image).toMatchObject({
      rbdsnap_consistency: 'crash',
      rbdsnap_consistency_reason: expect.stringContaining('the guest could not be frozen'),
    })
  })

  it('one that has to be frozen waits until its agent is back, and is then', within, async () => {
    const { images, engine, lab } = story
    await required(story, base, 'yes')
    const wish = await ask(story, server, 'required')
    await waitFor(
      'the freeze was tried, and will be again',
      () => engine.journal.find(server, wish.run),
      (run) => run?.timeline.some((step) => step.code === 'GUEST_UNREACHABLE') === true,
    )
    expect((await images.named('required')).filter((image) => image.status === 'active')).toEqual([])
    await startAgent(lab, server)
    const run = await endOf(story, wish)
    expect(run, run.reason ?? '').toMatchObject({ outcome: 'active' })
    await expectConsistent(story, await images.show(run.wish.image))
    await required(story, base, 'no')
    await expectAtWork(story, server)
  })

  it('a guest whose agent hangs is not waited for, and not frozen once the agent goes on', within, async () => {
    await hangAgent(story.lab, server)
    const { image } = await snapshotted(story, server, 'hanging-agent')
    expect(image).toMatchObject({
      rbdsnap_consistency: 'crash',
      rbdsnap_consistency_reason: expect.stringContaining('the guest could not be frozen'),
    })
    await wakeAgent(story.lab, server)
    await untilAgentAnswers(story, server)
    await expectAtWork(story, server)
  })

  it.each([
    { state: 'PAUSED', begin: { pause: null }, end: { unpause: null } },
    { state: 'SUSPENDED', begin: { suspend: null }, end: { resume: null } },
    { state: 'SHUTOFF', begin: { 'os-stop': null }, end: { 'os-start': null } },
  ])('a guest that is $state needs no freeze: offline', within, async ({ state, begin, end }) => {
    const { servers } = story
    await servers.act(server, begin)
    await servers.untilStatus(server, state)
    const { image } = await snapshotted(story, server, `offline-${state}`)
    expect(image).toMatchObject({ rbdsnap_consistency: 'offline' })
    expect((await servers.show(server)).status).toBe(state)
    await servers.act(server, end)
    await servers.untilStatus(server, 'ACTIVE')
    await untilAgentAnswers(story, server)
  })

  it.each([
    { what: 'paused', begin: { pause: null }, state: 'PAUSED', end: { unpause: null } },
    { what: 'stopped', begin: { 'os-stop': null }, state: 'SHUTOFF', end: { 'os-start': null } },
    { what: 'rebooted', begin: { reboot: { type: 'HARD' } }, state: 'ACTIVE', end: null },
  ])('a guest that is $what while we work: the verdict is true, and it is not left frozen', within, async (its) => {
    const { servers, images } = story
    const wish = await ask(story, server, its.what)
    await servers.act(server, its.begin)
    const run = await endOf(story, wish)
    expect(run, run.reason ?? '').toMatchObject({ outcome: 'active' })
    const image = await images.show(run.wish.image)
    if (image['rbdsnap_consistency'] === 'filesystem') await expectConsistent(story, image)
    await servers.untilStatus(server, its.state, 120_000)
    if (its.end) await servers.act(server, its.end)
    await servers.untilStatus(server, 'ACTIVE')
    await untilAgentAnswers(story, server)
    await expectAtWork(story, server)
  })
})

describe('a guest that has no agent', () => {
  let story: Story
  let server = ''
  let base = ''
  beforeAll(async () => {
    story = await openStory()
    base = await privateCopyOf(story, story.lab.images.plain, 'no-agent-base')
    server = await story.boot('no-agent', base)
    await story.servers.untilConsoleSays(server, guestWrites)
  })
  afterAll(() => story.close())

  it('is snapshotted as it is when nobody asked for more', within, async () => {
    const { image } = await snapshotted(story, server, 'not-asked')
    expect(image).toMatchObject({
      rbdsnap_consistency: 'crash',
      rbdsnap_consistency_reason: 'no freeze was asked for',
    })
  })

  it('is snapshotted as it is when a freeze was wished for, and the image says why', within, async () => {
    await story.images.change(base, [{ op: 'add', path: '/hw_qemu_guest_agent', value: 'yes' }])
    const { image } = await snapshotted(story, server, 'preferred')
    expect(image).toMatchObject({
      rbdsnap_consistency: 'crash',
      rbdsnap_consistency_reason: expect.stringContaining('the guest could not be frozen'),
    })
  })

  it('is not snapshotted when a freeze is required, and nothing is left', within, async () => {
    const { servers, images, ceph, lab } = story
    await required(story, base, 'yes')
    expect(await endOf(story, await ask(story, server, 'refused'))).toMatchObject({
      outcome: 'rejected',
      code: 'QUIESCE_UNAVAILABLE',
    })
    expect(await images.named('refused')).toEqual([])
    expect((await ceph.find(lab.ceph.pools.disks, `${server}_disk`))?.snaps).toEqual([])
    expect((await servers.show(server)).tags).toEqual([])
    expect(await story.leftovers()).toEqual([])
  })
})

describe("through the hypervisor's libvirt", () => {
  let story: Story
  let server = ''
  beforeAll(async () => {
    const { libvirt } = readLab()
    story = await openStory({ settings: { RBDSNAP_GUEST: 'libvirt', RBDSNAP_LIBVIRT_URI: libvirt.uri } })
    server = await story.boot('by-libvirt', story.lab.images.agent)
    await untilAgentAnswers(story, server)
  })
  afterAll(() => story.close())

  it('a guest is frozen for the instant of the snapshot', within, async () => {
    const { run, image } = await snapshotted(story, server, 'by-libvirt')
    expect(run.reason).toBeNull()
    await expectConsistent(story, image)
    await expectAtWork(story, server)
  })

  it('one whose agent hangs is not waited for, and not frozen once the agent goes on', within, async () => {
    await hangAgent(story.lab, server)
    const { image } = await snapshotted(story, server, 'hangs-by-libvirt')
    expect(image).toMatchObject({ rbdsnap_consistency: 'crash' })
    await wakeAgent(story.lab, server)
    await untilAgentAnswers(story, server)
    await expectAtWork(story, server)
  })
})

async function snapshotted(
  { servers, engine, images }: Story,
  server: string,
  name: string,
): Promise<{ run: RunRecord; image: Image }> {
  await servers.setTag(server, `snapshot:${name}`)
  const { id } = await images.untilNamedActive(name, 120_000)
  const run = await engine.untilEnded(id)
  expect(run).toMatchObject({ outcome: 'active' })
  return { run, image: await images.show(id) }
}

async function required({ images }: Story, base: string, value: 'yes' | 'no'): Promise<void> {
  await images.change(base, [{ op: 'add', path: '/os_require_quiesce', value }])
}

/** The verdict, and the bytes. */
async function expectConsistent({ lab }: Story, image: Image): Promise<void> {
  expect(image).toMatchObject({ rbdsnap_consistency: 'filesystem' })
  const kept = await evidenceOf(`${lab.ceph.pools.images}/${image.id}@snap`, lab.ceph.conf)
  expect(kept).toMatchObject({ isConsistent: true })
}

async function untilAgentAnswers({ guests, servers }: Story, server: string): Promise<void> {
  await servers.untilConsoleSays(server, guestWrites)
  await waitFor(
    `the agent of ${server} answers`,
    () => guests.freezeState(server),
    (state) => state !== null,
    120_000,
  )
}

/** Thawed, and it writes. */
async function expectAtWork({ guests, lab }: Story, server: string): Promise<void> {
  expect(await guests.freezeState(server)).toBe('thawed')
  const disk = `${lab.ceph.pools.disks}/${server}_disk`
  const { synced } = await evidenceOf(disk, lab.ceph.conf)
  await waitFor(
    `the guest ${server} writes`,
    () => evidenceOf(disk, lab.ceph.conf),
    (now) => now.synced > synced,
    30_000,
  )
}
