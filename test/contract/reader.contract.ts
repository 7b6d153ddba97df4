import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { DiskReader, RbdSnap } from '../../shared/ports/volumes.ts'
import { expectFailure, patient } from './outcome.ts'

export interface ReaderWorld {
  reader: DiskReader
  /** the names of two clusters */
  clusters: { home: string; other: string }
  /** a snapshot of a disk that was written to afterwards, larger than what any pipe holds */
  makeSnapshot(cluster: string): Promise<{ snap: RbdSnap; bytes: Uint8Array }>
  close(): Promise<void>

  /** What is read next from the cluster is cut off. */
  cutOff?: () => void
}

export function describeReader(name: string, make: () => Promise<ReaderWorld>, timeoutMs = 30_000): void {
  describe(`reading a disk: ${name}`, { timeout: timeoutMs }, () => {
    let world: ReaderWorld
    beforeAll(async () => {
      world = await make()
    }, timeoutMs)
    afterAll(() => world.close(), timeoutMs)

    async function all(stream: ReadableStream<Uint8Array>): Promise<Buffer> {
      const chunks: Uint8Array[] = []
      for await (const chunk of stream) chunks.push(chunk)
      return Buffer.concat(chunks)
    }

    it.each(['home', 'other'] as const)(
      "gives exactly the snapshot's bytes, holes as zeros (%s cluster)",
      async (which) => {
        const cluster = world.clusters[which]
        const { snap, bytes } = await world.makeSnapshot(cluster)
        const read = await all(world.reader.read(cluster, snap, patient()))
        expect(read.equals(bytes)).toBe(true)
      },
    )

    it('of what is not there fails, and does not look like an empty disk', async () => {
      const { snap } = await world.makeSnapshot(world.clusters.home)
      const { home } = world.clusters
      await expectFailure(all(world.reader.read(home, { ...snap, snap: 'none' }, patient())), 'INSTANCE_GONE')
      await expectFailure(all(world.reader.read(home, { ...snap, image: 'none' }, patient())), 'INSTANCE_GONE')
    })

    it('of a cluster that is not configured is BAD_SETTING', async () => {
      const { snap } = await world.makeSnapshot(world.clusters.home)
      await expectFailure(all(world.reader.read('nowhere', snap, patient())), 'BAD_SETTING', /nowhere/)
    })

    it('cut short ends with an error', async (test) => {
      if (!world.cutOff) return test.skip('this world has no cutOff')
      const { snap } = await world.makeSnapshot(world.clusters.home)
      const stream = world.reader.read(world.clusters.home, snap, patient()).getReader()
      expect((await stream.read()).done).toBe(false)
      world.cutOff()
      const rest = async () => {
        while (!(await stream.read()).done);
      }
      await expectFailure(rest(), 'CEPH_UNREACHABLE')
    })

    it('ends with its caller, and with its reader', async () => {
      const { snap } = await world.makeSnapshot(world.clusters.home)
      const controller = new AbortController()
      const stream = world.reader.read(world.clusters.home, snap, controller.signal).getReader()
      await stream.read()
      controller.abort()
      const rest = async () => {
        while (!(await stream.read()).done);
      }
      await expectFailure(rest(), 'TIMEOUT')
      const other = world.reader.read(world.clusters.home, snap, patient())
      const reader = other.getReader()
      await reader.read()
      await reader.cancel()
    })
  })
}
