import type { Server } from './ports/compute.ts'
import type { Wish } from './run.ts'
import type { Context, Ports } from './step.ts'

/** Nova lets nobody change the tags of a server in any other state (nova/api/openstack/compute/server_tags.py): 409. */
const taggable = new Set(['active', 'paused', 'suspended', 'stopped'])

/**
 * The answer to whoever asked by a tag: it is taken off. `later`: the server is put away, broken or on its way out, and Nova will not have
 * it. The run waits then, because a tag that outlives its run would be heard as another wish when the server comes back.
 */
export async function takeTagOff(
  { trigger, project, instance }: Wish,
  server: Server | null,
  ports: Ports,
  ctx: Context,
): Promise<'off' | 'later'> {
  if (trigger.is !== 'tag' || server?.project !== project) return 'off'
  if (!taggable.has(server.vmState)) return server.tags.includes(trigger.tag) ? 'later' : 'off'
  await ports.compute.ensureTagAbsent(instance, trigger.tag, ctx.signal)
  return 'off'
}
