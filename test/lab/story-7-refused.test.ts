import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { retry } from '../../infra/cli/retry.ts'
import { unwind } from '../../infra/cli/unwind.ts'
import { readLab } from '../../infra/lab/lab.ts'
import type { RunRecord } from '../../shared/ports/journal.ts'
import { asPerson } from './hands.ts'
import { bootOnClone } from './support/disks.ts'
import { ask, endOf, untilAtWork, type Asked } from './support/moments.ts'
import { allRights, openOwnService, osdCaps, type OwnService } from './support/own-service.ts'
import { openStory, type Story } from './support/story.ts'
import { warmUp, wholeImage } from './support/take-over.ts'
import { pause, waitFor } from './support/wait.ts'

/**
 * What may be taken from our service while it works: its tokens, its rights, and the room for what it makes. A token is renewed
 * and nobody notices; what a person must mend stops the run with everything kept, and goes on or back when the person says so;
 * what cannot be met is rejected, with its own code, and nothing is left.
 */
const lab = readLab()
let own: OwnService
let story: Story
let server = ''
beforeAll(async () => {
  own = await openOwnService(lab)
  story = await openStory({ settings: own.settings })
  server = await bootOnClone(story, 'refused')
  await warmUp(story, server)
}, 400_000)
afterAll(async () => {
  try {
    await story.close()
  } finally {
    await own.close()
  }
}, 400_000)

const within = { timeout: 240_000 }

describe('a token', () => {
  it('that was revoked in the middle of a run is renewed', within, async () => {
    const earlier = await asPerson({ ...lab, authUrl: own.keystone.url }, own.person)
    const wish = await ask(story, server, 'revoked')
    await untilAtWork(story, wish, 'snapshot')
    await Promise.all([own.revokeTokens(), own.setDashboardRights(...allRights)])
    // keystonemiddleware believes a token that it has seen for another five minutes
    await own.glance.reopen()
    expect((await earlier('GET', `${own.glance.url}/v2/images?limit=1`)).status).toBe(401)
    await endsActive(wish)
  })

  it('that expired between two runs is renewed', within, async () => {
    await own.keystone.reopen({ token: { expiration: lifeS } })
    try {
      await own.revokeTokens()
      await own.glance.reopen()
      await endsActive(await ask(story, server, 'short-lived'))
      const earlier = await asPerson({ ...lab, authUrl: own.keystone.url }, own.person)
      await pause((lifeS + 1) * 1_000)
      expect((await earlier('GET', `${own.glance.url}/v2/images?limit=1`)).status).toBe(401)
      await endsActive(await ask(story, server, 'expired'))
    } finally {
      await own.keystone.reopen()
    }
  })
  const lifeS = 40
})

describe('rights that are too small', () => {
  afterEach(async () => {
    await own.setDashboardRights(...allRights)
    await own.setCephxCaps(osdCaps(lab))
    await own.glance.reopen()
  })

  it('of the dashboard role stop the run, the guest thawed; mended and tried again, it ends', within, async () => {
    await own.setDashboardRights('read')
    const wish = await ask(story, server, 'small-role')
    const parked = await endOf(story, wish)
    expect(parked).toMatchObject({
      outcome: 'parked',
      code: 'CEPH_REFUSED',
      reason: expect.stringContaining('rbd-image'),
    })
    await guestIsThawed()
    await own.setDashboardRights(...allRights)
    await retry(parked, story.engine.journal, Date.now())
    await endsActive(wish)
  })

  it('of the cephx user stop an upload; unwound, nothing is left', within, async () => {
    const { pools } = lab.ceph
    await own.glance.reopen(hidesLocations)
    await own.setCephxCaps(`profile rbd pool=${pools.images}`)
    const wish = await ask(story, server, 'small-caps')
    const parked = await endOf(story, wish)
    expect(parked).toMatchObject({ outcome: 'parked', code: 'CEPH_REFUSED', message: { step: 'fallback' } })
    await guestIsThawed()
    await unwind(parked, story.engine.journal, Date.now())
    expect(await endsInNothing(wish)).toMatchObject({ code: 'CEPH_REFUSED' })
  })
})

describe('no room', () => {
  it("within Glance's quota for what is registered is QUOTA", within, async () => {
    await own.glance.reopen({ DEFAULT: { user_storage_quota: '1MB' } })
    expect(await endsInNothing(await ask(story, server, 'quota'))).toMatchObject({ code: 'QUOTA' })
  })

  it("within Glance's largest image for what is uploaded is QUOTA", within, async () => {
    await own.glance.reopen({ DEFAULT: { ...hidesLocations.DEFAULT, image_size_cap: 1024 * 1024 } })
    const { code, timeline } = await endsInNothing(await ask(story, server, 'size-cap'))
    expect(code).toBe('QUOTA')
    expect(timeline.map(({ step }) => step)).toContain('fallback')
  })

  it("in Glance's pool is POOL_FULL", within, async () => {
    await own.glance.reopen()
    const { images: pool } = lab.ceph.pools
    await setQuota(pool, 1)
    try {
      await waitFor(
        'the monitors call the pool full',
        () => story.ceph.ceph('health', 'detail'),
        (said) => said.includes(`pool '${pool}' is full`),
      )
      expect(await endsInNothing(await ask(story, server, 'pool-full'))).toMatchObject({ code: 'POOL_FULL' })
    } finally {
      await setQuota(pool, 0)
    }
  })

  const setQuota = (pool: string, bytes: number) =>
    story.ceph.ceph('osd', 'pool', 'set-quota', pool, 'max_bytes', String(bytes))
})

const hidesLocations = { DEFAULT: { show_multiple_locations: false, show_image_direct_url: false } }

async function endsActive(wish: Asked): Promise<void> {
  const { images } = story
  const run = await endOf(story, wish)
  expect(run, run.reason ?? '').toMatchObject({ outcome: 'active' })
  const [image, ...more] = await images.named(wish.name)
  expect(more).toEqual([])
  await wholeImage(story, image?.id ?? '')
  await images.delete(image?.id ?? '')
  await guestIsThawed()
  expect(await story.leftovers()).toEqual([])
}

async function endsInNothing(wish: Asked): Promise<RunRecord> {
  const run = await endOf(story, wish)
  expect(run, run.reason ?? '').toMatchObject({ outcome: 'rejected' })
  expect(await story.images.named(wish.name)).toEqual([])
  expect((await story.ceph.find(lab.ceph.pools.disks, `${server}_disk`))?.snaps).toEqual([])
  expect((await story.servers.show(server)).tags).toEqual([])
  await guestIsThawed()
  expect(await story.leftovers()).toEqual([])
  return run
}

async function guestIsThawed(): Promise<void> {
  await waitFor(
    'the guest is thawed',
    () => story.guests.freezeState(server),
    (state) => state === 'thawed',
    30_000,
  )
}
