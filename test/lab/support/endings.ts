import { expect } from 'vitest'
import type { RunRecord } from '../../../shared/ports/journal.ts'
import { endOf, type Asked } from './moments.ts'
import type { Story } from './story.ts'
import { wholeImage } from './take-over.ts'

/** One whole image for the wish, or none where it was rejected; the tag is gone, and nothing is left of either. */
export async function endsInOneImageOrNone(story: Story, wish: Asked, expected?: 'active'): Promise<RunRecord> {
  const { images, servers } = story
  const run = await endOf(story, wish)
  expect(['active', 'rejected'], run.reason ?? '').toContain(run.outcome)
  if (expected) expect(run).toMatchObject({ outcome: expected })
  const made = await images.named(wish.name)
  expect(made).toHaveLength(run.outcome === 'active' ? 1 : 0)
  for (const { id } of made) {
    await wholeImage(story, id)
    await images.delete(id)
  }
  expect((await servers.show(wish.server)).tags).toEqual([])
  expect(await story.leftovers()).toEqual([])
  return run
}
