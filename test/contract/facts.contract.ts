import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { CephFacts, CloneFormat } from '../../shared/adapters/ceph-facts.ts'
import type { RbdImage } from '../../shared/ports/volumes.ts'
import { patient } from './outcome.ts'

export interface FactsWorld {
  facts: CephFacts
  /** the same cluster for a user who may only read; null where everybody may everything */
  small: CephFacts | null
  fsid: string
  cloneFormat: CloneFormat
  pools: { disks: string; images: string }
  makeDisk(options?: { hasLayering?: boolean }): Promise<RbdImage>
  /** what this gateway cannot tell */
  isSilentOn: (keyof CephFacts)[]
  close(): Promise<void>
}

export function describeFacts(name: string, make: () => Promise<FactsWorld>, timeoutMs = 30_000): void {
  describe(`what a gateway tells of its cluster: ${name}`, { timeout: timeoutMs }, () => {
    let world: FactsWorld
    beforeAll(async () => {
      world = await make()
    }, timeoutMs)
    afterAll(() => world.close(), timeoutMs)

    const known = <T>(fact: keyof CephFacts, value: T) => (world.isSilentOn.includes(fact) ? null : value)

    it('its version, its id and the clone format of a pool, as far as it knows them', async () => {
      const { facts, pools } = world
      expect(await facts.version(patient())).toEqual(known('version', expect.stringMatching(/^\d+\.\d+\.\d+$/)))
      expect(await facts.fsid(patient())).toBe(known('fsid', world.fsid))
      expect(await facts.cloneFormat(pools.images, patient())).toBe(known('cloneFormat', world.cloneFormat))
    })

    it('the features of a disk', async () => {
      const { facts, makeDisk, pools } = world
      expect(await facts.features(await makeDisk(), patient())).toContain('layering')
      expect(await facts.features(await makeDisk({ hasLayering: false }), patient())).not.toContain('layering')
      expect(await facts.features({ pool: pools.disks, image: 'none' }, patient())).toBeNull()
    })

    it('that nothing is missing, or what', async () => {
      const { disks, images } = world.pools
      expect(await world.facts.missingRights([disks, images], patient())).toEqual([])
      expect((await world.small?.missingRights([disks, images], patient()))?.length).not.toBe(0)
    })
  })
}
