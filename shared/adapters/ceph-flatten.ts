import * as z from 'zod/mini'
import type { RbdImage } from '../ports/volumes.ts'
import { service } from './ceph-manager.ts'
import { decode } from './http.ts'
import { errno, type RbdCalls, type Reply, spec } from './rbd-calls.ts'
import { failureOf } from './rbd-failures.ts'
import { type RbdCommand, replyOf, run } from './rbd-process.ts'

/**
 * A flatten as a task of the managers (`ceph rbd task`, needs the cap mgr 'profile rbd'): it is kept in RADOS and the next manager
 * goes on with it by itself, where the dashboard's own flatten dies with its manager and rbd's with its process. The tasks of a
 * cluster run one after another. One that is done is forgotten, and added again it answers like a new one (Ceph 16.2): whether a
 * flatten is done is told by the image's parent alone.
 */
export function flattenByTask(calls: RbdCalls, ceph: RbdCommand): RbdCalls {
  async function told(image: RbdImage, args: string[], signal: AbortSignal): Promise<{ reply: Reply; stdout: string }> {
    const what = spec(image)
    const end = await run(ceph, what, args, signal)
    return { reply: replyOf(what, end), stdout: end.stdout }
  }

  async function taskOf(image: RbdImage, signal: AbortSignal) {
    const { reply, stdout } = await told(image, ['rbd', 'task', 'list', '--format', 'json'], signal)
    if (reply.is === 'errno') throw failureOf(spec(image), reply)
    const tasks = decode(tasksShape, service, 'the tasks of the managers', { status: 0, text: stdout })
    return tasks.find(
      ({ refs }) => refs.action === 'flatten' && refs.pool_name === image.pool && refs.image_name === image.image,
    )
  }

  return {
    ...calls,
    async flatten(image, signal) {
      const { reply } = await told(image, ['rbd', 'task', 'add', 'flatten', spec(image)], signal)
      if (reply.is === 'ok') return { is: 'started' }
      // ENOENT as for a missing image, where librbd says EINVAL
      const hasNoParent = reply.is === 'errno' && reply.words.includes('does not have a parent')
      return hasNoParent ? { ...reply, errno: errno.EINVAL } : reply
    },
    async underWay(kind, image, signal) {
      if (kind !== 'flatten') return calls.underWay(kind, image, signal)
      const task = await taskOf(image, signal)
      return task ? { fraction: task.progress ?? null } : null
    },
    async callOff(image, signal) {
      const task = await taskOf(image, signal)
      if (!task) return
      const { reply } = await told(image, ['rbd', 'task', 'cancel', task.id], signal)
      // ENOENT: it ended by itself
      if (reply.is === 'errno' && reply.errno !== errno.ENOENT) throw failureOf(spec(image), reply)
    },
  }
}

const tasksShape = z.array(
  z.object({
    id: z.string(),
    progress: z.optional(z.number()),
    refs: z.object({
      action: z.string(),
      pool_name: z.optional(z.string()),
      image_name: z.optional(z.string()),
    }),
  }),
)
