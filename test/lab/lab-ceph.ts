import { execFile, spawn } from 'node:child_process'
import { createHash, randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { killPart, startPart } from '../../infra/lab/control.ts'
import type { Lab } from '../../infra/lab/lab.ts'
import type { RbdImage, RbdSnap } from '../../shared/ports/volumes.ts'
import type { HalfMadeForm, VolumesWorld } from '../contract/volumes.contract.ts'
import { until } from './hands.ts'

/**
 * Two pools of this process's own in the lab's cluster, with everything that is in them, and what somebody with the
 * administrator's key does there. Closed, the pools are gone.
 */
export const mebibyte = 1024 * 1024
export const diskBytes = 64 * mebibyte
const slowDiskBytes = 1024 * mebibyte
const everyPool = /^rbdsnap-contract-(?<pid>\d+)-/
const name = `rbdsnap-contract-${process.pid}`
const clonable = ['layering', 'exclusive-lock', 'object-map', 'fast-diff', 'deep-flatten']
const largest = 1024 * mebibyte

const run = promisify(execFile)

export async function openCephLab(lab: Lab, cloneFormat: 1 | 2) {
  const dir = mkdtempSync(join(tmpdir(), 'rbdsnap-ceph-'))
  const ceph = async (...args: string[]) => {
    return (await run('ceph', ['--conf', lab.ceph.conf, ...args], { maxBuffer: largest })).stdout
  }
  const rbd = async (...args: string[]) => {
    return (await run('rbd', ['--conf', lab.ceph.conf, ...args], { maxBuffer: largest })).stdout
  }
  const rados = async (...args: string[]) => {
    return (await run('rados', ['--conf', lab.ceph.conf, ...args], { encoding: 'buffer', maxBuffer: largest })).stdout
  }

  /** Also those that a run left which was killed, but not those of another file's process. */
  async function dropPools(): Promise<void> {
    await ceph('config', 'set', 'mon', 'mon_allow_pool_delete', 'true')
    const all = JSON.parse(await ceph('osd', 'pool', 'ls', '-f', 'json')) as string[]
    for (const pool of all) {
      const pid = Number(everyPool.exec(pool)?.groups?.['pid'] ?? 0)
      if (pid === process.pid || (pid > 0 && !existsSync(`/proc/${pid}`)))
        await ceph('osd', 'pool', 'rm', pool, pool, '--yes-i-really-really-mean-it')
    }
  }

  /** New names each time: a manager that has opened a pool does not see that another one bears its name now, and finds nothing in it. */
  async function makePools(): Promise<{ disks: string; images: string }> {
    await dropPools()
    const run = randomUUID().slice(0, 8)
    const made = { disks: `${name}-disks-${run}`, images: `${name}-images-${run}` }
    for (const pool of Object.values(made)) {
      await ceph('osd', 'pool', 'create', pool, '8', '8')
      await rbd('pool', 'init', pool)
      await rbd('config', 'pool', 'set', pool, 'rbd_default_clone_format', String(cloneFormat))
    }
    return made
  }

  /** A cephx user with the rights that docs/operate.md asks for, its key in a ceph.conf of its own. */
  async function makeUser(): Promise<{ user: string; conf: string }> {
    const user = name
    const keyring = join(dir, 'keyring')
    const osd = Object.values(pools).map((pool) => `profile rbd pool=${pool}`)
    await ceph('auth', 'rm', `client.${user}`)
    const caps = ['mon', 'profile rbd', 'mgr', 'profile rbd', 'osd', osd.join(', ')]
    await ceph('auth', 'get-or-create', `client.${user}`, ...caps, '-o', keyring)
    const conf = join(dir, 'ceph.conf')
    writeFileSync(conf, `${readFileSync(lab.ceph.conf, 'utf8')}\n[client.${user}]\nkeyring = ${keyring}\n`)
    return { user, conf }
  }

  const pools = await makePools()
  const { user, conf } = await makeUser()
  return {
    lab,
    dir,
    pools,
    cloneFormat,
    user,
    conf,
    ceph,
    rbd,
    rados,
    async close() {
      await dropPools()
      await ceph('auth', 'rm', `client.${user}`)
      rmSync(dir, { recursive: true, force: true })
    },
  }
}
export type CephLab = Awaited<ReturnType<typeof openCephLab>>

/** as RADOS has them, and `rbd import-diff` takes them */
function number(value: number): Buffer {
  const bytes = Buffer.alloc(8)
  bytes.writeBigUInt64LE(BigInt(value))
  return bytes
}

const specOf = (thing: RbdImage | RbdSnap) => `${thing.pool}/${thing.image}${'snap' in thing ? `@${thing.snap}` : ''}`

interface Info {
  id: string
  parent?: { pool: string; image: string; snapshot: string; id: string }
}

/** Everything but the adapter. */
export function hands({ lab, dir, pools, rbd, rados, cloneFormat }: CephLab) {
  let written = 0
  let isSlow = false
  const info = async (image: RbdImage) => JSON.parse(await rbd('info', '--format', 'json', specOf(image))) as Info
  const shownSnaps = async (image: RbdImage) => {
    const shown = JSON.parse(await rbd('snap', 'ls', '--format', 'json', specOf(image))) as {
      id: number
      name: string
      protected: 'true' | 'false'
    }[]
    return shown.map(({ id, name, protected: is }) => ({ id, name, isProtected: is === 'true' }))
  }

  /** A diff in `rbd import-diff`'s own format: the one way to write into the middle of an image by the command line. */
  async function fill(image: RbdImage, objects: number[], sizeBytes: number, length = 8192): Promise<Buffer[]> {
    const blocks = objects.map((object) => {
      written += 1
      return { offset: object * 4 * mebibyte, bytes: Buffer.alloc(length, `${String(written)} ${image.image}`) }
    })
    const parts = blocks.flatMap(({ offset, bytes }) => ['w', number(offset), number(bytes.length), bytes])
    const child = spawn('rbd', ['--conf', lab.ceph.conf, 'import-diff', '--no-progress', '-', specOf(image)])
    for (const part of ['rbd diff v1\n', 's', number(sizeBytes), ...parts, 'e']) child.stdin.write(part)
    child.stdin.end()
    const [code] = (await once(child, 'close')) as [number]
    if (code !== 0) throw new Error(`rbd import-diff ended with ${String(code)}`)
    return blocks.map(({ bytes }) => bytes)
  }

  /** Full of data, and one object after another: a clone has the options of its parent. */
  async function slow(image: RbdImage): Promise<void> {
    await rbd('config', 'image', 'set', specOf(image), 'rbd_concurrent_management_ops', '1')
    const objects = Array.from({ length: slowDiskBytes / (4 * mebibyte) }, (_, object) => object)
    await fill(image, objects, slowDiskBytes, 4 * mebibyte)
  }

  async function fingerprint(thing: RbdImage | RbdSnap): Promise<string> {
    const child = spawn('rbd', ['--conf', lab.ceph.conf, 'export', '--no-progress', specOf(thing), '-'])
    const hash = createHash('sha256')
    const closed = once(child, 'close')
    for await (const chunk of child.stdout) hash.update(chunk as Buffer)
    const [code] = (await closed) as [number]
    if (code !== 0) throw new Error(`rbd export ${specOf(thing)} ended with ${String(code)}`)
    return hash.digest('hex')
  }

  async function snapshot(snap: RbdSnap, isProtected = false): Promise<void> {
    await rbd('snap', 'create', '--no-progress', specOf(snap))
    if (isProtected) await rbd('snap', 'protect', specOf(snap))
  }
  async function clone(source: RbdSnap, child: RbdImage): Promise<void> {
    await rbd('clone', '--image-feature', clonable.join(), specOf(source), specOf(child))
  }

  /** As a client leaves it that was killed between two of librbd's steps: the name, the header, the parent, its list of children. */
  async function leaveHalfMade(source: RbdSnap, child: RbdImage, form: HalfMadeForm): Promise<void> {
    if (form === 'unknown-child') return forget(source, child)
    await rbd('create', '--size', '64M', '--image-feature', clonable.join(), specOf(child))
    if (form === 'unopenable') await rados('-p', child.pool, 'rm', `rbd_header.${(await info(child)).id}`)
  }

  /**
   * The child knows its parent, and the parent not yet the child. Format 1 keeps the children in an object of their pool; in format 2 the
   * child is marked first (`op_features`, bit 1; `features`, bit 8), and its parent told then.
   */
  async function forget(source: RbdSnap, child: RbdImage): Promise<void> {
    const use = (format: number) => rbd('config', 'pool', 'set', child.pool, 'rbd_default_clone_format', String(format))
    await use(1)
    await clone(source, child)
    await use(cloneFormat)
    await rados('-p', child.pool, 'rm', 'rbd_children')
    if (cloneFormat === 1) return
    const header = `rbd_header.${(await info(child)).id}`
    for (const [key, value] of [
      ['features', 317],
      ['op_features', 2],
    ] as const) {
      const file = join(dir, key)
      writeFileSync(file, number(value))
      await rados('-p', child.pool, 'setomapval', header, key, '--input-file', file)
    }
  }

  return {
    pools,
    slowDown(_operation, perObjectMs) {
      isSlow = perObjectMs > 0
    },
    fsid: lab.ceph.fsid,
    fill,
    async makeDisk({ hasLayering = true } = {}) {
      const image = { pool: pools.disks, image: `${randomUUID()}_disk` }
      const features = clonable.filter((name) => hasLayering || name !== 'layering')
      const sizeBytes = isSlow ? slowDiskBytes : diskBytes
      const size = `${String(sizeBytes / mebibyte)}M`
      await rbd('create', '--size', size, '--image-feature', features.join(), specOf(image))
      if (isSlow) await slow(image)
      else await fill(image, [0, 3, 7, 15], sizeBytes)
      return image
    },
    async write(image) {
      await fill(image, [3], diskBytes)
    },
    fingerprint,
    names: async (pool) => JSON.parse(await rbd('ls', '--format', 'json', pool)) as string[],
    snaps: async (image) => (await shownSnaps(image)).map(({ name, isProtected }) => ({ name, isProtected })),
    async parentOf(image) {
      const { parent } = await info(image)
      return parent ? { pool: parent.pool, image: parent.image, snap: parent.snapshot } : null
    },
    snapshot,
    clone,
    async flatten(image) {
      await rbd('flatten', '--no-progress', specOf(image))
    },
    leaveHalfMade,
    /** `rbd watch` has it open until a key is pressed. */
    async hold(image) {
      const child = spawn('rbd', ['--conf', lab.ceph.conf, 'watch', specOf(image)], {
        stdio: ['pipe', 'ignore', 'ignore'],
      })
      const watched = async () => ((await rbd('status', specOf(image))).includes('watcher=') ? true : null)
      await until(watched, 'a watcher')
      return {
        async release() {
          child.stdin.end('\n')
          await once(child, 'close')
        },
      }
    },
  } satisfies Omit<VolumesWorld, 'volumes' | 'close'> & { fill: unknown }
}

export interface Managers {
  active(): Promise<string>
  /** the other one serves when it is back */
  fail(): Promise<void>
  /** as a machine that loses its power: the monitors give it up 30 s later */
  killActive(): Promise<void>
}

export function managers({ lab, ceph }: CephLab): Managers {
  const active = async () =>
    (JSON.parse(await ceph('mgr', 'stat', '-f', 'json')) as { active_name: string }).active_name

  async function serves(name: string): Promise<true | null> {
    if ((await active()) === name) return null
    const answers = await Promise.all(
      lab.ceph.dashboards.map(async (url) =>
        fetch(`${url}/api/summary`, { redirect: 'manual' }).then(
          ({ status }) => status,
          () => 0,
        ),
      ),
    )
    return answers.includes(401) ? true : null
  }

  return {
    active,
    async fail() {
      const name = await active()
      await ceph('mgr', 'fail', name)
      await until(() => serves(name), 'another manager')
    },
    async killActive() {
      const name = await active()
      await killPart(`ceph-mgr-${name}`)
      await until(() => serves(name), 'another manager')
      await startPart(`ceph-mgr-${name}`)
    },
  }
}
