import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import type { Lab } from '../../../infra/lab/lab.ts'

/** Ceph's own command line with the administrator's key: eyes and hands that are not the adapters under test. */
export interface Volume {
  name: string
  sizeBytes: number
  /** pool/image@snap */
  parent: string | null
  snaps: { name: string; isProtected: boolean }[]
}

export interface Ceph {
  rbd(...args: string[]): Promise<string>
  ceph(...args: string[]): Promise<string>
  volumes(pool: string): Promise<string[]>
  find(pool: string, image: string): Promise<Volume | null>
  /** pool/image */
  children(pool: string, image: string, snap: string): Promise<string[]>
  /** names of what lies in the pool's trash */
  trash(pool: string): Promise<string[]>
}

const run = promisify(execFile)
const largestAnswerBytes = 64 * 1024 * 1024

export function cephOf({ ceph: { conf } }: { ceph: Pick<Lab['ceph'], 'conf'> }): Ceph {
  const command =
    (program: string) =>
    async (...args: string[]) =>
      (await run(program, ['--conf', conf, ...args], { maxBuffer: largestAnswerBytes })).stdout
  const rbd = command('rbd')
  const json = async <T>(...args: string[]) => JSON.parse(await rbd(...args, '--format', 'json')) as T
  return {
    rbd,
    ceph: command('ceph'),
    volumes: (pool) => json<string[]>('ls', pool),
    async find(pool, image) {
      try {
        const [info, snaps] = await Promise.all([
          json<Info>('info', `${pool}/${image}`),
          json<{ name: string; protected: string }[]>('snap', 'ls', `${pool}/${image}`),
        ])
        const { parent } = info
        return {
          name: image,
          sizeBytes: info.size,
          parent: parent ? `${parent.pool}/${parent.image}@${parent.snapshot}` : null,
          snaps: snaps.map((s) => ({ name: s.name, isProtected: s.protected === 'true' })),
        }
      } catch (error) {
        if (isNotThere(error)) return null
        throw error
      }
    },
    async children(pool, image, snap) {
      const found = await json<{ pool: string; image: string }[]>('children', `${pool}/${image}@${snap}`)
      return found.map((child) => `${child.pool}/${child.image}`)
    },
    async trash(pool) {
      return (await json<{ name: string }[]>('trash', 'ls', pool)).map((t) => t.name)
    },
  }
}

interface Info {
  size: number
  parent?: { pool: string; image: string; snapshot: string }
}

/** `rbd` ends with the errno: 2 is ENOENT. */
function isNotThere(error: unknown): boolean {
  return (error as { code?: unknown }).code === 2
}
