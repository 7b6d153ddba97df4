import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { type FileHandle, open, statfs, unlink } from 'node:fs/promises'
import { join } from 'node:path'
import * as z from 'zod/mini'
import { Failure } from '../failures.ts'
import type { DiskReader, RbdSnap } from '../ports/volumes.ts'
import { byteCount, parseJson } from './http.ts'
import { quote } from './words.ts'
import { spec } from './rbd-calls.ts'
import { lastOf } from './rbd-process.ts'
import { outOfTime } from './wait.ts'

export interface Qcow2Options {
  /** `qemu-img`, with qemu's rbd driver (Debian: qemu-block-extra) */
  command: string[]
  user: string | null
  /** each cluster's ceph.conf, by the name that a run calls the cluster */
  confs: Record<string, string>
  /** where the file is while it is written and sent */
  directory: string
}

const measured = z.object({ required: byteCount })

/**
 * A snapshot's bytes as qcow2, whose header and tables come first and are known last: so there is a local file.
 *
 * The file loses its name as soon as it is open and is written and read by its descriptor: the kernel takes it back when the
 * processes that hold it are gone, however they went. Nobody has to remove what a crash left, and two at once are no matter.
 */
export function qcow2Reader(options: Qcow2Options): DiskReader {
  return {
    read(cluster, snap, signal) {
      const letGo = new AbortController()
      const bytes = converted(options, cluster, snap, AbortSignal.any([signal, letGo.signal]))
      return new ReadableStream<Uint8Array>(
        {
          async pull(controller) {
            const next = await bytes.next()
            if (next.done === true) controller.close()
            else controller.enqueue(next.value)
          },
          cancel() {
            letGo.abort()
            bytes.return(undefined).catch(() => undefined)
          },
        },
        { highWaterMark: 0 },
      )
    },
  }
}

const pieceBytes = 1024 * 1024

async function* converted(
  options: Qcow2Options,
  cluster: string,
  snap: RbdSnap,
  signal: AbortSignal,
): AsyncGenerator<Uint8Array, undefined, undefined> {
  const what = spec(snap)
  const source = urlOf(options, cluster, snap)
  await mustFit(options, what, source, signal)
  const file = await unnamed(options.directory, snap.snap)
  try {
    // 3: the file, which has no other name for the program
    await qemuImg(options, what, ['convert', '-f', 'raw', '-O', 'qcow2', source, '/dev/fd/3'], signal, file)
    for (let at = 0; ;) {
      if (signal.aborted) throw outOfTime(what)
      const { bytesRead, buffer } = await file.read(Buffer.alloc(pieceBytes), 0, pieceBytes, at)
      if (bytesRead === 0) return
      at += bytesRead
      yield buffer.subarray(0, bytesRead)
    }
  } finally {
    await file.close()
  }
}

/** What the file takes at most, by qemu-img's own reckoning of what is allocated; said before a byte is written. */
async function mustFit(options: Qcow2Options, what: string, source: string, signal: AbortSignal): Promise<void> {
  const said = await qemuImg(options, what, ['measure', '--output', 'json', '-f', 'raw', '-O', 'qcow2', source], signal)
  const read = z.safeParse(measured, parseJson(said))
  if (!read.success) throw new Failure('ANSWER_UNREADABLE', `${what}: qemu-img measure said ${quote(said)}`)
  const { required } = read.data
  const { bavail, bsize } = await statfs(options.directory).catch((error: unknown) => {
    throw unusable(options.directory, error)
  })
  if (bavail * bsize >= required) return
  const words = `${what} as qcow2 may take ${String(required)} bytes; ${options.directory} has ${String(bavail * bsize)} left`
  throw new Failure('NO_SPACE', words)
}

async function unnamed(directory: string, name: string): Promise<FileHandle> {
  const path = join(directory, `${name}.${String(process.pid)}-${String(Date.now())}.qcow2`)
  try {
    const file = await open(path, 'wx+', 0o600)
    await unlink(path)
    return file
  } catch (error) {
    throw unusable(directory, error)
  }
}

const unusable = (directory: string, error: unknown) =>
  new Failure('BAD_SETTING', `RBDSNAP_SNAPSHOTS_DIRECTORY: ${directory}: ${(error as Error).message}`)

async function qemuImg(
  { command }: Qcow2Options,
  what: string,
  args: string[],
  signal: AbortSignal,
  file?: FileHandle,
): Promise<string> {
  if (signal.aborted) throw outOfTime(what)
  const [program = 'qemu-img', ...first] = command
  const child = spawn(program, [...first, ...args], { stdio: ['ignore', 'pipe', 'pipe', ...(file ? [file.fd] : [])] })
  const kill = () => child.kill('SIGKILL')
  signal.addEventListener('abort', kill, { once: true })
  try {
    const ended = once(child, 'close') as Promise<[number | null]>
    if (!child.stdout || !child.stderr) throw new Error('no pipes')
    const [[code], stdout, stderr] = await Promise.all([ended, lastOf(child.stdout), lastOf(child.stderr)])
    if (code === 0) return stdout
    if (signal.aborted) throw outOfTime(what)
    throw new Failure(codeOf(stderr), `${what}: qemu-img ended with ${String(code)}: ${quote(stderr)}`)
  } catch (error) {
    if (error instanceof Failure) throw error
    throw new Failure('BAD_SETTING', `${what}: qemu-img cannot be started: ${(error as Error).message}`, {
      cause: error,
    })
  } finally {
    signal.removeEventListener('abort', kill)
    kill()
  }
}

/** In the words of qemu 7.2 and of its rbd driver. */
function codeOf(stderr: string) {
  if (/No space left on device/.test(stderr)) return 'NO_SPACE'
  if (/Unknown protocol 'rbd'|Unknown driver/.test(stderr)) return 'BAD_SETTING'
  if (/Permission denied|Operation not permitted/.test(stderr)) return 'CEPH_REFUSED'
  return 'CEPH_UNREACHABLE'
}

/** qemu's `rbd:pool/image@snap:key=value`, where a backslash takes the meaning from what separates. */
function urlOf({ confs, user }: Qcow2Options, cluster: string, { pool, image, snap }: RbdSnap): string {
  const conf = confs[cluster]
  if (conf === undefined) throw new Failure('BAD_SETTING', `no ceph.conf is configured for the cluster ${cluster}`)
  const plain = (text: string) => text.replace(/[\\:@/]/g, '\\$&')
  const who = user === null ? '' : `:id=${plain(user)}`
  return `rbd:${plain(pool)}/${plain(image)}@${plain(snap)}${who}:conf=${conf.replace(/[\\:@]/g, '\\$&')}`
}
