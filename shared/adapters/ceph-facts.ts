import * as z from 'zod/mini'
import type { RbdImage } from '../ports/volumes.ts'
import { cephManager, dashboardRights, type ManagerOptions, service } from './ceph-manager.ts'
import { type Answer, decode, refusal } from './http.ts'
import { spec } from './rbd-calls.ts'
import { failureOf } from './rbd-failures.ts'
import { type RbdCommand, replyOf, run } from './rbd-process.ts'

/**
 * What a gateway can tell about its cluster and its own rights there. Nothing of it is needed to make a snapshot: it is for
 * `rbdsnap doctor`. Null is: this gateway cannot tell. What keeps the gateway from working at all is the Failure of any call.
 */
export interface CephFacts {
  /** `16.2.15` */
  version(signal: AbortSignal): Promise<string | null>
  fsid(signal: AbortSignal): Promise<string | null>
  /** as it is for new clones in that pool */
  cloneFormat(pool: string, signal: AbortSignal): Promise<CloneFormat | null>
  /** what the user lacks, in Ceph's own words; empty: nothing */
  missingRights(pools: string[], signal: AbortSignal): Promise<string[]>
  /** of one disk: without `layering` it is copied and not cloned. Null: no such image */
  features(image: RbdImage, signal: AbortSignal): Promise<string[] | null>
}

/** 2 where no client older than mimic may connect (`rbd_default_clone_format = auto`). A stock cluster has 1. */
export type CloneFormat = 1 | 2

/** What each means for an instance that is deleted before its image was flattened. */
export const cloneFormatMeans: Record<CloneFormat, string> = {
  1: 'until an image is flattened its source snapshot cannot be unprotected or removed, and Nova leaves the disk of a deleted instance behind, which is removed after the flatten',
  2: 'until an image is flattened Nova leaves the disk of a deleted instance behind, which is removed after the flatten; with rbd_move_parent_to_trash_on_remove nothing stays behind',
}

const signedIn = z.object({ permissions: z.record(z.string(), z.array(z.string())) })
const summary = z.object({ version: z.string() })
const imageFeatures = z.object({ features_name: z.array(z.string()) })
const format = z.union([z.literal(1), z.literal(2)])

/** The role `rbd-image` may ask neither for the cluster's id nor for a pool's own options (403). */
export function dashboardFacts(options: ManagerOptions): CephFacts {
  const ask = cephManager(options)

  async function get<S extends z.core.$ZodType>(what: string, path: string, schema: S, signal: AbortSignal) {
    return wanted(what, await ask({ what, method: 'GET', path }, signal), schema)
  }

  return {
    async version(signal) {
      return numbersOf((await get("the manager's version", '/api/summary', summary, signal)).version)
    },
    fsid: () => Promise.resolve(null),
    cloneFormat: (_pool, signal) => get('the clone format', '/api/block/image/clone_format_version', format, signal),
    async missingRights(_pools, signal) {
      const what = `the rights of the dashboard user ${options.user}`
      const body = { username: options.user, password: options.password }
      const { permissions } = wanted(
        what,
        await ask({ what, method: 'POST', path: '/api/auth', body }, signal),
        signedIn,
      )
      const has = permissions['rbd-image'] ?? []
      return dashboardRights.filter((right) => !has.includes(right)).map((right) => `scope rbd-image: ${right}`)
    },
    async features(image, signal) {
      const what = spec(image)
      const path = `/api/block/image/${encodeURIComponent(what)}?omit_usage=true`
      const answer = await ask({ what, method: 'GET', path }, signal)
      return answer.status === 404 ? null : wanted(what, answer, imageFeatures).features_name
    },
  }
}

function wanted<S extends z.core.$ZodType>(what: string, answer: Answer, schema: S): z.output<S> {
  if (answer.status >= 300) throw refusal(service, what, answer)
  return decode(schema, service, what, answer)
}

export interface CommandFactsOptions extends RbdCommand {
  /** the program `ceph`, where there is one (RBDSNAP_CEPH_COMMAND) */
  ceph: string[] | null
}

const options = z.array(z.object({ name: z.string(), value: z.string() }))
const osdMap = z.object({ require_min_compat_client: z.string() })
const rbdInfo = z.object({ features: z.array(z.string()) })

/** Clients of these releases know no clone format 2. */
const beforeMimic = [
  'argonaut',
  'bobtail',
  'cuttlefish',
  'dumpling',
  'emperor',
  'firefly',
  'giant',
  'hammer',
  'infernalis',
  'jewel',
  'kraken',
  'luminous',
  'unknown',
]

/** By the commands `rbd` and `ceph`, with one key. */
export function commandFacts({ ceph, ...rbd }: CommandFactsOptions): CephFacts {
  const byCeph = ceph && { ...rbd, command: ceph }

  async function told(program: RbdCommand, what: string, args: string[], signal: AbortSignal): Promise<string> {
    const end = await run(program, what, args, signal)
    const reply = replyOf(what, end)
    if (reply.is === 'errno') throw failureOf(what, reply)
    return end.stdout
  }

  const json = <S extends z.core.$ZodType>(what: string, text: string, schema: S): z.output<S> =>
    decode(schema, service, what, { status: 0, text })

  async function optionOf(pool: string, name: string, signal: AbortSignal): Promise<string | undefined> {
    const what = `the options of pool ${pool}`
    const text = await told(rbd, what, ['config', 'pool', 'ls', '--format', 'json', pool], signal)
    return json(what, text, options).find((option) => option.name === name)?.value
  }

  return {
    version: async (signal) => byCeph && numbersOf(await told(byCeph, "the cluster's version", ['version'], signal)),
    fsid: async (signal) => byCeph && (await told(byCeph, "the cluster's id", ['fsid'], signal)).trim(),
    async cloneFormat(pool, signal) {
      const set = await optionOf(pool, 'rbd_default_clone_format', signal)
      if (set === '1' || set === '2') return set === '1' ? 1 : 2
      if (!byCeph) return null
      const what = 'the OSD map'
      const map = json(what, await told(byCeph, what, ['osd', 'dump', '--format', 'json'], signal), osdMap)
      return beforeMimic.includes(map.require_min_compat_client) ? 1 : 2
    },
    async missingRights(pools, signal) {
      const lacks: string[] = []
      for (const pool of pools) {
        const reply = replyOf(pool, await run(rbd, pool, ['ls', pool], signal))
        if (reply.is === 'errno') lacks.push(`osd 'profile rbd pool=${pool}': ${reply.words}`)
      }
      if (byCeph) {
        const what = 'the tasks of the manager'
        const reply = replyOf(what, await run(byCeph, what, ['rbd', 'task', 'list'], signal))
        if (reply.is === 'errno') lacks.push(`mgr 'profile rbd': ${reply.words}`)
      }
      return lacks
    },
    async features(image, signal) {
      const what = spec(image)
      const end = await run(rbd, what, ['info', '--format', 'json', what], signal)
      const reply = replyOf(what, end)
      if (reply.is === 'errno' && reply.errno === 2 && reply.about === 'image') return null
      if (reply.is === 'errno') throw failureOf(what, reply)
      return json(what, end.stdout, rbdInfo).features
    },
  }
}

/** `ceph version 16.2.15 (618f...) pacific (stable)` */
const numbersOf = (words: string) => /\d+\.\d+\.\d+\S*/.exec(words)?.[0] ?? words.trim()
