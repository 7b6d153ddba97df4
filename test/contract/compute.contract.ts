import { randomUUID } from 'node:crypto'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import type { Compute } from '../../shared/ports/compute.ts'
import { expectFailure, patient, untilDone } from './outcome.ts'

export interface ComputeWorld {
  compute: Compute
  /** a running server of a tenant, booted from an image */
  makeServer(
    tags: string[],
  ): Promise<{ id: string; name: string; project: string; user: string; rootGib: number; image: string }>
  tagsOf(instance: string): Promise<string[]>
  /** stops it, as its owner may at any time */
  stop(instance: string): Promise<void>
  remove(instance: string): Promise<void>
  close(): Promise<void>

  /** as Nova does instead of deleting it, where it has a `reclaim_instance_interval` */
  intoBin?: (instance: string) => Promise<void>
  /** where running guests cost something: those of a test go before the next one */
  removeServers?: () => Promise<void>

  cutOff?: (method: 'GET' | 'DELETE', when: 'before' | 'after') => void
  /** The next call is answered with this status, and with this body or one of Nova's own words. */
  answer?: (status: number, body?: unknown) => void
  /** The next call gets no answer. */
  hang?: () => void
  voidTokens?: () => void
}

export function describeCompute(name: string, make: () => Promise<ComputeWorld>): void {
  describe(`compute: ${name}`, { timeout: 120_000 }, () => {
    let world: ComputeWorld
    let compute: Compute
    beforeAll(async () => {
      world = await make()
      compute = world.compute
    }, 60_000)
    afterEach(() => world.removeServers?.())
    afterAll(() => world.close(), 120_000)

    it('shows a server of any project as it is', async () => {
      const { image, ...server } = await world.makeServer(['gold', 'snapshot:daily'])
      const found = await compute.find(server.id, patient())
      expect(found).toMatchObject({ ...server, baseImage: image, vmState: 'active', taskState: null })
      expect(found?.tags.toSorted()).toEqual(['gold', 'snapshot:daily'])
      expect(found?.host).toEqual(expect.any(String))
    })

    it('reads the state again each time', async () => {
      const { id } = await world.makeServer([])
      expect((await compute.find(id, patient()))?.vmState).toBe('active')
      await world.stop(id)
      const stopped = await untilDone(
        () => compute.find(id, patient()),
        (server) => server?.vmState === 'stopped',
      )
      expect(stopped?.tags).toEqual([])
    })

    it('is null for a server that is gone or never was', async () => {
      const { id } = await world.makeServer([])
      await world.remove(id)
      await untilDone(
        async () => ({ found: await compute.find(id, patient()) }),
        ({ found }) => found === null,
      )
      expect(await compute.find(randomUUID(), patient())).toBeNull()
    })

    it('finds the servers with exactly that tag', async () => {
      const tag = `snapshot:${randomUUID()}`
      const [first, second] = [await world.makeServer([tag, 'gold']), await world.makeServer([tag])]
      await world.makeServer([`${tag}x`])
      const found = await compute.tagged(tag, patient())
      expect(found.map((server) => server.id).toSorted()).toEqual([first.id, second.id].toSorted())
      expect(await compute.tagged(`snapshot:${randomUUID()}`, patient())).toEqual([])
    })

    it('says whether exactly that tag is on a server, and no for a server that is gone', async () => {
      const { id } = await world.makeServer(['snapshot-on:power_off'])
      expect(await compute.bears(id, 'snapshot-on:power_off', patient())).toBe(true)
      expect(await compute.bears(id, 'snapshot-on:power', patient())).toBe(false)
      expect(await compute.bears(randomUUID(), 'snapshot-on:power_off', patient())).toBe(false)
    })

    it('knows of an image whether a server of any project was made from it', async () => {
      const { image } = await world.makeServer([])
      expect(await compute.usesImage(image, patient())).toBe(true)
      expect(await compute.usesImage(randomUUID(), patient())).toBe(false)
    })

    it('knows of a server in the bin that it was made from an image', async (test) => {
      if (!world.intoBin) return test.skip('this world has no intoBin')
      const { id, image } = await world.makeServer([])
      await world.intoBin(id)
      expect(await compute.usesImage(image, patient())).toBe(true)
    })

    it('removes one tag and no other; twice is once', async () => {
      const { id } = await world.makeServer(['gold', 'snapshot'])
      await compute.ensureTagAbsent(id, 'snapshot', patient())
      await compute.ensureTagAbsent(id, 'snapshot', patient())
      expect(await world.tagsOf(id)).toEqual(['gold'])
    })

    it('has nothing to remove from a server that is gone', async () => {
      await compute.ensureTagAbsent(randomUUID(), 'snapshot', patient())
    })

    for (const when of ['before', 'after'] as const) {
      it(`answers lost ${when} the effect change nothing in what there is at the end`, async (test) => {
        if (!world.cutOff) return test.skip('this world has no cutOff')
        const { id } = await world.makeServer(['snapshot'])
        world.cutOff('DELETE', when)
        await expectFailure(compute.ensureTagAbsent(id, 'snapshot', patient()), 'NOVA_UNREACHABLE')
        await compute.ensureTagAbsent(id, 'snapshot', patient())
        expect(await world.tagsOf(id)).toEqual([])
      })
    }

    it('a refusal is not taken for an absence', async (test) => {
      if (!world.answer) return test.skip('this world has no answer')
      const { id } = await world.makeServer(['snapshot'])
      world.answer(403)
      await expectFailure(compute.find(id, patient()), 'NOVA_REFUSED', /403/)
      world.answer(403)
      await expectFailure(compute.bears(id, 'snapshot', patient()), 'NOVA_REFUSED', /403/)
      world.answer(403)
      await expectFailure(compute.usesImage(randomUUID(), patient()), 'NOVA_REFUSED', /403/)
      world.answer(409)
      await expectFailure(compute.ensureTagAbsent(id, 'snapshot', patient()), 'NOVA_UNREACHABLE', /409/)
      world.answer(500)
      await expectFailure(compute.find(id, patient()), 'NOVA_UNREACHABLE', /500/)
    })

    it('a server in a cell that is down is neither gone nor shown half: NOVA_UNREACHABLE', async (test) => {
      if (!world.answer) return test.skip('this world has no answer')
      const { id } = await world.makeServer([])
      // Nova's "Handling Down Cells", from microversion 2.69 on
      const ofDownCell = { id, status: 'UNKNOWN', created: '2026-11-23T10:00:00Z', tenant_id: 'x', links: [] }
      world.answer(200, { server: { ...ofDownCell, user_id: 'y', 'OS-EXT-STS:power_state': 0 } })
      await expectFailure(compute.find(id, patient()), 'NOVA_UNREACHABLE', /cell/)
      world.answer(200, { servers: [ofDownCell] })
      expect(await compute.tagged('snapshot', patient())).toEqual([])
      world.answer(200, { server: { id } })
      await expectFailure(compute.find(id, patient()), 'ANSWER_UNREADABLE', /name/)
    })

    it('a Nova that does not answer is TIMEOUT when the caller gives up', async (test) => {
      if (!world.hang) return test.skip('this world has no hang')
      world.hang()
      await expectFailure(compute.find(randomUUID(), AbortSignal.timeout(300)), 'TIMEOUT')
      expect(await compute.find(randomUUID(), patient())).toBeNull()
    })

    it('a token that is no longer taken is renewed', async (test) => {
      if (!world.voidTokens) return test.skip('this world has no voidTokens')
      const { id } = await world.makeServer([])
      world.voidTokens()
      expect(await compute.find(id, patient())).not.toBeNull()
    })

    it('a caller that gave up is told TIMEOUT', async () => {
      await expectFailure(compute.find(randomUUID(), AbortSignal.abort()), 'TIMEOUT')
    })
  })
}
