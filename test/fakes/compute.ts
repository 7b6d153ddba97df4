import { heeding } from './heed.ts'
import type { Compute, Server } from '../../shared/ports/compute.ts'

export type FakeServers = Map<string, Server>

/** The port over Nova's servers; a tag that goes is heard on the bus, ours like everybody's. */
export function fakeCompute(servers: FakeServers, onTagged: (server: Server) => void): Compute {
  return heeding({
    find: async (instance) => structuredClone(servers.get(instance) ?? null),
    bears: async (instance, tag) => servers.get(instance)?.tags.includes(tag) ?? false,
    usesImage: async (image) => [...servers.values()].some(({ baseImage }) => baseImage === image),
    tagged: async (tag) => structuredClone([...servers.values()].filter((s) => s.tags.includes(tag))),
    async ensureTagAbsent(instance, tag) {
      const server = servers.get(instance)
      if (!server?.tags.includes(tag)) return
      server.tags = server.tags.filter((t) => t !== tag)
      onTagged(server)
    },
  })
}
