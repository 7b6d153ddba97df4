import { describe, expect, it } from 'vitest'
import type { NovaPlan } from '../fakes/nova.ts'
import { makeWorld } from '../fakes/world.ts'
import { makeEngine } from '../support/engine.ts'
import { violationsAtRest } from '../support/invariants.ts'
import { endOf, tooLate } from '../support/scenarios.ts'

/** Nova and we on the same image: every order of their acts, by moving Nova's through ours a few milliseconds at a time. */
const offsetsMs = Array.from({ length: 150 }, (_, i) => i * 10)
const won = ['active, images: 1', 'nova-did-it, images: 1', tooLate]

describe('a take-over, whenever Nova does its part', () => {
  it.each<[string, Partial<NovaPlan>, keyof NovaPlan, boolean]>([
    ['clones directly', { way: 'direct', flattenMs: 3_000 }, 'cloneMs', true],
    ['ends its direct snapshot', { way: 'direct' }, 'flattenMs', true],
    ['is refused its location', { way: 'direct' }, 'flattenMs', false],
    ['suspends the guest and converts', { way: 'long', convertMs: 3_000 }, 'startMs', true],
    ['uploads', { way: 'long' }, 'convertMs', true],
  ])('one image, nothing left, no guest frozen: Nova %s', async (_, plan, moved, takesNovasLocations) => {
    const bad: string[] = []
    for (const ms of offsetsMs) {
      const world = makeWorld()
      world.glance.settings.takesLocationsFrom.nova = takesNovasLocations
      const server = world.addServer({ disk: plan.way === 'long' ? 'flat' : 'clone' })
      world.createImage(server, { startMs: 100, ...plan, [moved]: ms })
      await makeEngine(world).toRest()
      const end = endOf(world, server.id)
      const violations = violationsAtRest(world)
      if (violations.length > 0 || !won.includes(end)) bad.push([`${moved} ${ms}: ${end}`, ...violations].join('; '))
    }
    expect(bad).toEqual([])
  })
})
