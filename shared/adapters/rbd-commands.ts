import * as z from 'zod/mini'
import { Failure } from '../failures.ts'
import type { RbdImage, RbdSnap } from '../ports/volumes.ts'
import { byteCount, decode, type Service } from './http.ts'
import {
  cloneFeatures,
  copyFeatures,
  errno,
  type RbdCalls,
  type RbdImageState,
  type Reply,
  spec,
  type Work,
} from './rbd-calls.ts'
import { failureOf, isErrno } from './rbd-failures.ts'
import { rbdJobs } from './rbd-jobs.ts'
import { type RbdCommand, replyOf, run } from './rbd-process.ts'

export interface CommandOptions extends RbdCommand {
  /** how long a flatten or copy is waited for before it goes on behind; as long as the dashboard does */
  heldMs?: number | undefined
}

const service: Service = { name: 'rbd', unreachable: 'CEPH_UNREACHABLE', refused: 'CEPH_REFUSED' }
const timeoutMs = 60_000

const infoShape = z.object({
  size: byteCount,
  /** `rbd_data.ID`: the image itself, whatever its name becomes */
  block_name_prefix: z.string(),
  snapshot_count: z.optional(z.number()),
  parent: z.optional(z.object({ pool: z.string(), image: z.string(), snapshot: z.string() })),
})
/** `protected` is the text "true" or "false" in 16.2 */
const isTrue = z.union([z.boolean(), z.enum(['true', 'false'])])
const snapsShape = z.array(
  z.object({ name: z.string(), size: byteCount, protected: isTrue, namespace: z.object({ type: z.string() }) }),
)
const childrenShape = z.array(z.object({ pool: z.string(), image: z.string(), trash: z.optional(isTrue) }))

const isSaid = (shown: boolean | string | undefined) => shown === true || shown === 'true'

type Snaps = z.infer<typeof snapsShape>

/** Ceph's own command line, a process a call. */
export function commandCalls(options: CommandOptions): RbdCalls {
  const jobs = rbdJobs(options, options.heldMs ?? 2_000)

  async function command(what: string, args: string[], signal: AbortSignal) {
    const own = AbortSignal.timeout(timeoutMs)
    const end = await run(options, what, args, AbortSignal.any([signal, own])).catch((error: unknown) => {
      if (signal.aborted || !own.aborted) throw error
      throw new Failure('CEPH_UNREACHABLE', `${what}: rbd did not end in ${String(timeoutMs / 1000)} s`, {
        cause: error,
      })
    })
    return { reply: replyOf(what, end), stdout: end.stdout }
  }

  const act = async (thing: RbdImage | RbdSnap, args: string[], signal: AbortSignal): Promise<Reply> =>
    (await command(spec(thing), args, signal)).reply

  /** What a reading command printed, or null when there is no such thing. */
  async function show<S extends z.core.$ZodType>(
    thing: RbdImage | RbdSnap,
    words: string[],
    schema: S,
    signal: AbortSignal,
  ): Promise<z.output<S> | null> {
    const what = spec(thing)
    const { reply, stdout } = await command(what, [...words, '--format', 'json', what], signal)
    if (isErrno(reply, errno.ENOENT)) return null
    if (reply.is === 'errno') throw failureOf(what, reply)
    return decode(schema, service, what, { status: 0, text: stdout })
  }

  async function withChildren(image: RbdImage, snaps: Snaps, signal: AbortSignal): Promise<RbdImageState['snaps']> {
    const found: RbdImageState['snaps'] = []
    for (const { name, size, protected: shown } of snaps) {
      const all = await show({ ...image, snap: name }, ['children', '--all'], childrenShape, signal)
      // null: removed since it was listed
      if (!all) continue
      // in the trash it is nobody's to flatten or to wait for, and still reads from here when it is taken out again
      const children = all.filter(({ trash }) => !isSaid(trash)).map(({ pool, image }) => ({ pool, image }))
      found.push({ name, sizeBytes: size, isProtected: isSaid(shown), children, isUsed: all.length > 0 })
    }
    return found
  }

  const keyOf = (kind: Work, image: RbdImage) => `${kind} ${spec(image)}`
  /** Copies that this process saw to their end, by the image itself: another worker may have begun anew under the name. */
  const whole = new Map<string, string>()
  const identity = async (image: RbdImage, signal: AbortSignal) =>
    (await show(image, ['info'], infoShape, signal))?.block_name_prefix

  async function remember(image: RbdImage): Promise<void> {
    const id = await identity(image, AbortSignal.timeout(timeoutMs))
    if (id !== undefined) whole.set(spec(image), id)
  }

  return {
    async look(image, signal) {
      const info = await show(image, ['info'], infoShape, signal)
      if (!info) return { is: 'absent' }
      const { parent } = info
      const all = info.snapshot_count === 0 ? [] : await show(image, ['snap', 'ls', '--all'], snapsShape, signal)
      if (!all) return { is: 'absent' }
      const snaps = all.filter(({ namespace }) => namespace.type === 'user')
      const state: RbdImageState = {
        sizeBytes: info.size,
        parent: parent ? { pool: parent.pool, image: parent.image, snap: parent.snapshot } : null,
        snaps: await withChildren(image, snaps, signal),
        // those of a mirror go with the image
        hasUnlistedSnaps: all.some(({ namespace: { type } }) => type === 'trash' || type === 'group'),
      }
      return { is: 'there', state }
    },
    createSnap: (snap, signal) => act(snap, ['snap', 'create', '--no-progress', spec(snap)], signal),
    protect: (snap, signal) => act(snap, ['snap', 'protect', spec(snap)], signal),
    unprotect: (snap, signal) => act(snap, ['snap', 'unprotect', spec(snap)], signal),
    removeSnap: (snap, signal) => act(snap, ['snap', 'rm', '--no-progress', spec(snap)], signal),
    clone: (source, child, signal) =>
      act(child, ['clone', '--image-feature', cloneFeatures.join(), spec(source), spec(child)], signal),
    flatten: (image, signal) =>
      jobs.begin({ key: keyOf('flatten', image), what: spec(image), args: ['flatten', spec(image)] }, signal),
    copy(source, target, signal) {
      const args = ['cp', '--image-feature', copyFeatures.join(), spec(source), spec(target)]
      const afterwards = () => remember(target)
      return jobs.begin({ key: keyOf('copy', target), what: spec(target), args, afterwards }, signal)
    },
    async rename(image, name, signal) {
      const reply = await act(image, ['mv', spec(image), spec({ pool: image.pool, image: name })], signal)
      if (reply.is === 'ok') whole.delete(spec(image))
      return reply
    },
    remove: (image, signal) => act(image, ['rm', '--no-progress', spec(image)], signal),
    // librbd's remove does not need to open it
    removeUnopenable: (image, signal) => act(image, ['rm', '--no-progress', spec(image)], signal),
    underWay: (kind, image) => Promise.resolve(jobs.underWay(keyOf(kind, image))),
    async copyEnd(_source, target, signal) {
      const failed = jobs.failed(keyOf('copy', target))
      if (failed) return failed
      const id = whole.get(spec(target))
      return id !== undefined && id === (await identity(target, signal)) ? { is: 'ok' } : null
    },
  }
}
