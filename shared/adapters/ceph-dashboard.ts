import * as z from 'zod/mini'
import type { RbdImage, RbdSnap, Volumes } from '../ports/volumes.ts'
import { flattenByTask } from './ceph-flatten.ts'
import { fullPool } from './ceph-health.ts'
import { type AskManager, cephManager, type ManagerCall, type ManagerOptions, service } from './ceph-manager.ts'
import { tasks } from './ceph-tasks.ts'
import { type Answer, byteCount, decode, parseJson, refusal } from './http.ts'
import { quote } from './words.ts'
import {
  cloneFeatures,
  copyFeatures,
  errno,
  type Look,
  type Patience,
  type RbdCalls,
  type RbdImageState,
  type Reply,
  spec,
} from './rbd-calls.ts'
import { failureOf } from './rbd-failures.ts'
import type { RbdCommand } from './rbd-process.ts'
import { ordinaryPatience, volumesOver } from './rbd-volumes.ts'
import { pause } from './wait.ts'

export interface DashboardOptions extends ManagerOptions {
  /** the cluster's id: the role `rbd-image` may not ask the manager for it */
  fsid: string
  /** the command `ceph`, where there is one: flattens are tasks of the managers then, and outlive them */
  ceph?: RbdCommand | undefined
  patience?: Patience | undefined
}

/** RBD through the Ceph manager's dashboard. */
export function cephDashboard(options: DashboardOptions): Volumes {
  const own = dashboardCalls(cephManager(options))
  const calls = options.ceph ? flattenByTask(own, options.ceph) : own
  return volumesOver(calls, () => Promise.resolve(options.fsid), options.patience ?? ordinaryPatience)
}

const imageShape = z.object({
  size: byteCount,
  parent: z.nullable(z.object({ pool_name: z.string(), image_name: z.string(), snap_name: z.string() })),
  snapshots: z.array(
    z.object({
      name: z.string(),
      size: byteCount,
      is_protected: z.optional(z.nullable(z.boolean())),
      children: z.optional(z.array(z.object({ pool_name: z.string(), image_name: z.string() }))),
    }),
  ),
})

/** `code` is the errno, as text in a task's error; `component` tells pool from image. */
const errorShape = z.object({
  detail: z.string(),
  code: z.union([z.number(), z.string()]),
  component: z.optional(z.nullable(z.string())),
})

const trashShape = z.array(z.object({ value: z.array(z.object({ id: z.string(), name: z.string() })) }))

/** The slash is part of the one path segment. */
const imagePath = (image: RbdImage) =>
  `/api/block/image/${encodeURIComponent(spec({ pool: image.pool, image: image.image }))}`
const snapPath = (snap: RbdSnap) => `${imagePath(snap)}/snap/${encodeURIComponent(snap.snap)}`

const mostLooks = 3
const betweenLooksMs = 200

function dashboardCalls(ask: AskManager): RbdCalls {
  async function act(call: ManagerCall, signal: AbortSignal): Promise<Reply> {
    return replyOf(call.what, await ask(call, signal))
  }

  /**
   * GET says 404 also of an image that has a snapshot in the trash (ceph/ceph#57151). A question about a snapshot that nobody has
   * tells them apart, and changes nothing: an image that opens fails one step later.
   */
  async function opens(image: RbdImage, signal: AbortSignal): Promise<boolean> {
    const path = snapPath({ ...image, snap: 'rbdsnap-no-such-snapshot' })
    const answer = await ask({ what: spec(image), method: 'PUT', path, body: { is_protected: false } }, signal)
    return answer.status < 300 || answer.text.includes('error checking if snapshot')
  }

  /** A snapshot that is removed while its image is shown makes that a 404 as well (Ceph 16.2, in the middle of Nova's own): it passes. */
  async function look(image: RbdImage, signal: AbortSignal): Promise<Look> {
    for (let nth = 1; ; nth += 1) {
      const seen = await lookOnce(image, signal)
      if (seen.is !== 'hidden' || nth === mostLooks) return seen
      await pause(betweenLooksMs, signal, spec(image))
    }
  }

  async function lookOnce(image: RbdImage, signal: AbortSignal): Promise<Look> {
    const what = spec(image)
    const answer = await ask({ what, method: 'GET', path: `${imagePath(image)}?omit_usage=true` }, signal)
    if (answer.status === 200) return { is: 'there', state: stateOf(decode(imageShape, service, what, answer)) }
    // with the feature `rbd` switched off (`ceph dashboard feature`) every path is a 404, and no image is gone
    const isMissing = answer.status === 404 && answer.text.includes('Image not found')
    if (isMissing) return { is: (await opens(image, signal)) ? 'hidden' : 'absent' }
    const reply = replyOf(what, answer)
    throw reply.is === 'errno' ? failureOf(what, reply) : refusal(service, what, answer)
  }

  async function createSnap(snap: RbdSnap, signal: AbortSignal): Promise<Reply> {
    const call = { what: spec(snap), method: 'POST' as const, path: `${imagePath(snap)}/snap` }
    const body = { snapshot_name: snap.snap }
    const answer = await ask({ ...call, body: { ...body, mirrorImageSnapshot: false } }, signal)
    // required in 16.2, unknown to other releases
    const isUnknown = answer.status === 500 && answer.text.includes("'mirrorImageSnapshot'")
    return replyOf(call.what, isUnknown ? await ask({ ...call, body }, signal) : answer)
  }

  async function removeUnopenable(image: RbdImage, signal: AbortSignal): Promise<Reply> {
    const what = spec(image)
    const moved = await act(
      { what, method: 'POST', path: `${imagePath(image)}/move_trash`, body: { delay: 0 } },
      signal,
    )
    if (moved.is === 'ok') await emptyTrash(image, signal)
    return moved
  }

  async function emptyTrash({ pool, image }: RbdImage, signal: AbortSignal): Promise<void> {
    const what = `the trash of pool ${pool}`
    const query = new URLSearchParams({ pool_name: pool })
    const listed = await ask({ what, method: 'GET', path: `/api/block/image/trash?${query.toString()}` }, signal)
    // 16.2 cannot list a trash that holds a parent (a bare 500); the name is free all the same
    if (listed.status !== 200) return
    const found = decode(trashShape, service, what, listed).flatMap((part) =>
      part.value.filter((e) => e.name === image),
    )
    for (const { id } of found) {
      const path = `/api/block/image/trash/${encodeURIComponent(`${pool}/${id}`)}?force=true`
      await act({ what: `${pool}/${image} in the trash`, method: 'DELETE', path }, signal)
    }
  }

  return {
    look,
    createSnap,
    protect: (snap, signal) =>
      act({ what: spec(snap), method: 'PUT', path: snapPath(snap), body: { is_protected: true } }, signal),
    unprotect: (snap, signal) =>
      act({ what: spec(snap), method: 'PUT', path: snapPath(snap), body: { is_protected: false } }, signal),
    removeSnap: (snap, signal) => act({ what: spec(snap), method: 'DELETE', path: snapPath(snap) }, signal),
    clone(source, child, signal) {
      const body = {
        child_pool_name: child.pool,
        child_namespace: null,
        child_image_name: child.image,
        features: cloneFeatures,
      }
      return act({ what: spec(child), method: 'POST', path: `${snapPath(source)}/clone`, body }, signal)
    },
    flatten: (image, signal) =>
      act({ what: spec(image), method: 'POST', path: `${imagePath(image)}/flatten`, body: {} }, signal),
    copy(source, target, signal) {
      const body = {
        dest_pool_name: target.pool,
        dest_namespace: null,
        dest_image_name: target.image,
        snapshot_name: source.snap,
        features: copyFeatures,
      }
      return act({ what: spec(target), method: 'POST', path: `${imagePath(source)}/copy`, body }, signal)
    },
    rename: (image, name, signal) =>
      act({ what: spec(image), method: 'PUT', path: imagePath(image), body: { name } }, signal),
    remove: (image, signal) =>
      act({ what: spec(image), method: 'DELETE', path: imagePath(image), isRepeatable: false }, signal),
    removeUnopenable,
    whyFull: (pool, signal) => fullPool(ask, pool, signal),
    ...tasks(ask),
  }
}

function stateOf(shown: z.infer<typeof imageShape>): RbdImageState {
  const { parent } = shown
  return {
    sizeBytes: shown.size,
    parent: parent && { pool: parent.pool_name, image: parent.image_name, snap: parent.snap_name },
    snaps: shown.snapshots.map((s) => ({
      name: s.name,
      sizeBytes: s.size,
      isProtected: s.is_protected ?? false,
      children: (s.children ?? []).map((child) => ({ pool: child.pool_name, image: child.image_name })),
      isUsed: s.children ? s.children.length > 0 : null,
    })),
    hasUnlistedSnaps: null,
  }
}

function replyOf(what: string, answer: Answer): Reply {
  if (answer.status === 202) return { is: 'started' }
  if (answer.status >= 200 && answer.status < 300) return { is: 'ok' }
  const read = errorShape.safeParse(parseJson(answer.text))
  const code = read.success ? Number(read.data.code) : Number.NaN
  if (read.success && answer.status === 400 && code > 0) {
    const about = read.data.component === 'pool' ? 'pool' : 'image'
    return { is: 'errno', errno: code, about, words: quote(read.data.detail) }
  }
  // DELETE of an image that is not there
  if (answer.status === 404 && code === 404) {
    return { is: 'errno', errno: errno.ENOENT, about: 'image', words: quote(answer.text) }
  }
  throw refusal(service, what, answer)
}
