import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { RunRecord } from '../../shared/ports/journal.ts'
import { bootOnClone } from './support/disks.ts'
import { openStory, type Story } from './support/story.ts'
import { wholeImage } from './support/take-over.ts'
import { waitFor } from './support/wait.ts'

/**
 * A tenant says once which snapshots he wants from now on, and how many: `snapshot-on:power_off`, `snapshot-keep:2`. Each stop leaves
 * an image; what is too many goes, the oldest first, and whatever he still needs stays.
 */
let story: Story
beforeAll(async () => {
  story = await openStory()
})
afterAll(() => story.close())

describe('a server with snapshot-on:power_off and snapshot-keep:2', () => {
  it(
    'has the images of its newest two stops, and besides them one that is protected and one that a server was made from',
    { timeout: 600_000 },
    async () => {
      const { servers, images, ceph, lab } = story
      const server = await bootOnClone(story, 'stopped-often')
      await servers.setTag(server, 'snapshot-on:power_off')
      await servers.setTag(server, 'snapshot-keep:2')

      const first = await runOfStop(server)
      await images.change(first.wish.image, [{ op: 'replace', path: '/protected', value: true }])
      await start(server)
      const second = await runOfStop(server)
      const user = await story.boot('made-from-second', second.wish.image)
      await start(server)
      const third = await runOfStop(server)
      await start(server)
      const fourth = await runOfStop(server)
      expect(fourth.reason).toContain(`${first.wish.image} of the policy is kept: it is protected`)
      expect(fourth.reason).toContain(`${second.wish.image} of the policy is kept: it is in use`)
      await start(server)
      const fifth = await runOfStop(server)
      expect(fifth.reason).toContain(`removed image ${third.wish.image} of the policy`)

      expect(await images.find(third.wish.image)).toBeNull()
      expect(await ceph.find(lab.ceph.pools.images, third.wish.image)).toBeNull()
      for (const { wish } of [second, fourth, fifth]) await wholeImage(story, wish.image)
      expect(await images.show(first.wish.image)).toMatchObject({ status: 'active', protected: true })
      expect((await servers.show(server)).tags.toSorted()).toEqual(['snapshot-keep:2', 'snapshot-on:power_off'])

      // Nobody needs the second one any more.
      await servers.delete(user)
      await start(server)
      const sixth = await runOfStop(server)
      expect(sixth.reason).toContain(`removed image ${second.wish.image} of the policy`)
      expect(sixth.reason).toContain(`removed image ${fourth.wish.image} of the policy`)
      expect((await imagesOf(server)).toSorted()).toEqual(
        [first, fifth, sixth].map(({ wish }) => wish.image).toSorted(),
      )
    },
  )
})

const seen = new Set<string>()

/** Stops the server; the run of that, once it has ended. */
async function runOfStop(server: string): Promise<RunRecord> {
  const { servers, engine } = story
  await servers.act(server, { 'os-stop': null })
  await servers.untilStatus(server, 'SHUTOFF')
  const run = await waitFor(
    `the run of the stop of server ${server} has ended`,
    () => engine.journal.latestOf(server),
    (latest) => latest !== null && latest.outcome !== null && !seen.has(latest.wish.run),
  )
  if (!run) throw new Error('there is none')
  seen.add(run.wish.run)
  expect(run).toMatchObject({ outcome: 'active', wish: { trigger: { is: 'policy', action: 'power_off' } } })
  return run
}

async function start(server: string): Promise<void> {
  await story.servers.act(server, { 'os-start': null })
  await story.servers.untilStatus(server, 'ACTIVE')
}

async function imagesOf(server: string): Promise<string[]> {
  const all = await story.images.list()
  return all.filter((image) => image['instance_uuid'] === server).map(({ id }) => id)
}
