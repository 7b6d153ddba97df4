import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { isPartUp, killPart, startPart } from '../../infra/lab/control.ts'
import { evidenceOf } from '../../infra/lab/guest.ts'
import { imageOf } from '../../shared/names.ts'
import { bootOnClone } from './support/disks.ts'
import { endsInOneImageOrNone } from './support/endings.ts'
import { isWholeClone, killActiveManager, killInClone } from './support/managers.ts'
import { ask, untilAtWork, wishOf, type Asked } from './support/moments.ts'
import { openStory, type Story } from './support/story.ts'
import { warmUp } from './support/take-over.ts'
import { waitFor } from './support/wait.ts'

/**
 * Whatever is killed in the middle of a run and comes back: one whole image for the wish, or nothing at all, and a guest that
 * runs. Above all no image on a clone that its manager left half made: it bears the right name and size, and reads as zeros.
 */
let story: Story
let server = ''
beforeAll(async () => {
  story = await openStory()
  server = await bootOnClone(story, 'worker')
  await warmUp(story, server)
}, 400_000)
afterAll(async () => {
  for (const part of mortal) if (!isPartUp(part)) await startPart(part)
  await story.close()
}, 400_000)

const mortal = ['ceph-mgr-x', 'ceph-mgr-y', 'glance-internal', 'rabbitmq']
const within = { timeout: 240_000 }

describe('the manager killed in the middle of a clone', () => {
  const tries = 3

  it('leaves a child half made, and no image is registered on it', { timeout: tries * 120_000 }, async () => {
    const left: string[] = []
    for (let nth = 1; nth <= tries && !left.includes('half made'); nth += 1) {
      const wish = await wishOf(story, server, `torn-${nth}`)
      const child = { pool: story.lab.ceph.pools.images, image: imageOf(wish.run, 1) }
      const { struck, revive } = await killInClone(story, child)
      try {
        await ask(story, server, wish.name)
        await struck
        left.push((await isWholeClone(story, child)) ? 'whole' : 'half made')
      } finally {
        await revive()
      }
      await activeOnlyWhenWhole(child.image)
      await endsWell(wish)
    }
    process.stdout.write(`killed in a clone: ${left.join(', ')}\n`)
  })

  it('and what reads as zeros under the name of the image is made anew', within, async () => {
    const wish = await wishOf(story, server, 'zeros')
    const child = { pool: story.lab.ceph.pools.images, image: imageOf(wish.run, 1) }
    await story.ceph.rbd('create', '--size', '1G', `${child.pool}/${child.image}`)
    await ask(story, server, wish.name)
    await activeOnlyWhenWhole(child.image)
    const { timeline } = await endsWell(wish, 'active')
    expect(timeline.find(({ step }) => step === 'clone')).toMatchObject({ tries: 2, code: 'CLONE_HALF_MADE' })
  })
})

describe('killed in the middle, and brought back', () => {
  it('the bridge: the wish is on the bus still', within, async () => {
    const { stack } = story.engine
    const wish = await wishOf(story, server, 'bridge')
    process.kill(stack.pid('bridge'), 'SIGKILL')
    await ask(story, server, wish.name)
    await endsWell(wish, 'active')
  })

  it('the functions, at every step of one run', { timeout: 300_000 }, async () => {
    const { stack } = story.engine
    const wish = await ask(story, server, 'functions')
    for (const step of ['quiesce', 'snapshot', 'clone', 'register', 'flatten', 'cleanup'] as const) {
      await untilAtWork(story, wish, step)
      process.kill(stack.pid('functions'), 'SIGKILL')
    }
    await endsWell(wish, 'active')
  })

  it.each([
    { what: 'the manager', step: 'flatten', strike: () => killActiveManager(story) },
    { what: 'Glance', step: 'register', strike: () => killAndRevive('glance-internal') },
    { what: 'RabbitMQ', step: 'quiesce', strike: () => killAndRevive('rabbitmq') },
  ] as const)('$what, at $step', within, async ({ step, strike }) => {
    const wish = await ask(story, server, step)
    await untilAtWork(story, wish, step)
    await strike()
    await endsWell(wish)
  })
})

async function killAndRevive(part: string): Promise<void> {
  await killPart(part)
  await startPart(part)
}

/** From the first moment at which its owner can use it. */
async function activeOnlyWhenWhole(image: string): Promise<void> {
  const { pools, conf } = story.lab.ceph
  await waitFor(
    `image ${image} is active, or its run has ended`,
    async () => ({ image: await story.images.find(image), run: await story.engine.journal.byRunOrImage(image) }),
    (seen) => seen.image?.status === 'active' || (seen.run !== null && seen.run.outcome !== null),
    150_000,
  )
  if ((await story.images.find(image)) === null) return
  expect((await evidenceOf(`${pools.images}/${image}@snap`, conf)).synced).toBeGreaterThan(0)
}

async function endsWell(wish: Asked, expected?: 'active') {
  const run = await endsInOneImageOrNone(story, wish, expected)
  expect(await story.guests.freezeState(server)).toBe('thawed')
  return run
}
