import { describe, expect, it } from 'vitest'
import { properties, tagRun, takeOverRun } from '../../shared/names.ts'
import { makeWorld } from '../fakes/world.ts'
import { makeEngine } from '../support/engine.ts'

/** A server that was booted from one of our own images: Nova copies what we wrote on that one onto its next snapshot's record. */
describe.each(['versioned', 'legacy', 'both'] as const)('a take-over on such a server, format %s', (format) => {
  it('fills the image, and leaves nothing on it of the run before', async () => {
    const world = makeWorld({ format })
    const left = {
      [properties.run]: tagRun('another instance', 'snapshot', 1),
      [properties.ownerProtected]: 'true',
      [properties.reason]: 'of the run before',
    }
    const server = world.addServer({ disk: 'flat', baseProperties: left })
    const image = world.createImage(server, { way: 'long', convertMs: 30_000 })
    await makeEngine(world).toRest()

    expect(world.store.runs().map((r) => [r.wish.run, r.outcome])).toEqual([[takeOverRun(image), 'active']])
    const made = world.glance.get(image)
    expect(made).toMatchObject({ status: 'active', isProtected: false })
    expect(made.properties[properties.run]).toBe(takeOverRun(image))
    expect(made.properties).not.toHaveProperty(properties.ownerProtected)
    expect(made.properties).not.toHaveProperty(properties.reason)
  })
})
