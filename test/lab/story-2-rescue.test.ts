import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { restartPart } from '../../infra/lab/control.ts'
import { guestIsUp } from './support/console.ts'
import { bootOnClone } from './support/disks.ts'
import { openStory, type Story } from './support/story.ts'
import { waitFor } from './support/wait.ts'
import { delaysMs, warmUp, wholeImage } from './support/take-over.ts'

/**
 * Glance hides locations from everybody but our service (OSSN-0090), from Nova too: its direct snapshot is refused at the very
 * end, it takes that for a failure without a fallback, and would delete the tenant's image.
 */
let story: Story
let server = ''
beforeAll(async () => {
  story = await openStory({ isDelayable: true })
  server = await bootOnClone(story, 'rescued')
  await warmUp(story, server)
  await restartPart('nova-compute', { glance: { endpoint_override: story.lab.glance.public } })
})
afterAll(async () => {
  await restartPart('nova-compute')
  await story.close()
})
afterEach(() => story.engine.delayUpTo(0))

const within = { timeout: 600_000 }

describe('createImage where Nova meets a Glance that hides locations', () => {
  it('is rescued: Nova fails, and the image becomes active all the same', within, async () => {
    const { servers, images, engine } = story
    const id = await servers.createImage(server, 'rescued')
    await images.untilActive(id)
    expect(await engine.untilEnded(id)).toMatchObject({ outcome: 'active' })
    await wholeImage(story, id)
    const copy = await story.boot('rescued-again', id)
    await servers.untilConsoleSays(copy, guestIsUp)
    await servers.delete(copy)
    await images.delete(id)
    expect(await story.leftovers()).toEqual([])
  })

  it.each(delaysMs)('is rescued with our steps held back by up to %i ms each, or never begun', within, async (ms) => {
    const { servers, images, engine } = story
    engine.delayUpTo(ms)
    const id = await servers.createImage(server, `late-${ms}`)
    await servers.untilIdle(server)
    const { run, image } = await waitFor(
      'the run has ended, or Nova had deleted its image before our first step came',
      async () => ({ image: await images.find(id), run: await engine.journal.byRunOrImage(id) }),
      (seen) => (seen.run === null ? seen.image === null : seen.run.outcome !== null),
    )
    if (run?.outcome === 'active') await wholeImage(story, id)
    else expect(image, run?.reason ?? 'no run').toBeNull()
    await images.delete(id)
    expect(await story.leftovers()).toEqual([])
  })
})
