import * as z from 'zod/mini'
import { type AskManager, service } from './ceph-manager.ts'
import { decode, refusal } from './http.ts'
import { quote } from './words.ts'
import { imageOf, type RbdCalls, spec, type Work } from './rbd-calls.ts'

const metadata = z.record(z.string(), z.unknown())
const tasksShape = z.object({
  executing_tasks: z.array(z.object({ name: z.string(), metadata, progress: z.optional(z.nullable(z.number())) })),
  finished_tasks: z.array(
    z.object({
      name: z.string(),
      metadata,
      end_time: z.string(),
      success: z.boolean(),
      exception: z.optional(
        // of a task of `ceph rbd task` that lost its manager: detail null. Those are listed whatever name was asked for
        z.nullable(
          z.object({ detail: z.optional(z.nullable(z.string())), code: z.optional(z.union([z.string(), z.number()])) }),
        ),
      ),
    }),
  ),
})

type Metadata = z.infer<typeof metadata>

/**
 * What the active manager remembers of its work. It forgets with its process, and a finished task after a minute: a task that is
 * not there says nothing, only one that is there does.
 */
export function tasks(ask: AskManager): Pick<RbdCalls, 'underWay' | 'copyEnd'> {
  async function list(kind: Work, what: string, signal: AbortSignal) {
    // always by name: without it the answer grew to 200 KB in an hour
    const query = new URLSearchParams({ name: `rbd/${kind}` })
    const answer = await ask({ what, method: 'GET', path: `/api/task?${query.toString()}` }, signal)
    if (answer.status !== 200) throw refusal(service, what, answer)
    return decode(tasksShape, service, what, answer)
  }

  return {
    async underWay(kind, image, signal) {
      const { executing_tasks } = await list(kind, spec(image), signal)
      const name = `rbd/${kind}`
      const found = executing_tasks.find((task) => task.name === name && targetOf(kind, task.metadata) === spec(image))
      // the dashboard's own tasks stay at 0; those of `ceph rbd task` have a real one
      return found ? { fraction: found.progress ? found.progress / 100 : null } : null
    },

    async copyEnd(source, target, signal) {
      const { finished_tasks } = await list('copy', spec(target), signal)
      const last = finished_tasks
        .filter(
          ({ metadata: m }) => targetOf('copy', m) === spec(target) && m['src_image_spec'] === spec(imageOf(source)),
        )
        .sort((a, b) => a.end_time.localeCompare(b.end_time))
        .at(-1)
      if (!last) return null
      if (last.success) return { is: 'ok' }
      const errno = Number(last.exception?.code ?? 0)
      return { is: 'errno', errno, about: 'image', words: quote(last.exception?.detail ?? 'the copy failed') }
    },
  }
}

/** The image that a task makes or changes; the clone's metadata leaves the snapshot out. */
function targetOf(kind: Work, m: Metadata): string {
  if (kind === 'flatten') return String(m['image_spec'])
  const prefix = kind === 'clone' ? 'child' : 'dest'
  return `${String(m[`${prefix}_pool_name`])}/${String(m[`${prefix}_image_name`])}`
}
