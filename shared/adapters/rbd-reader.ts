import { once } from 'node:events'
import * as z from 'zod/mini'
import { Failure } from '../failures.ts'
import type { DiskReader, RbdSnap } from '../ports/volumes.ts'
import { byteCount, decode, type Service } from './http.ts'
import { spec } from './rbd-calls.ts'
import { failureOf } from './rbd-failures.ts'
import { ended, lastOf, type RbdCommand, replyOf, run, start } from './rbd-process.ts'
import { outOfTime } from './wait.ts'

export interface RbdReaderOptions {
  command: string[]
  user: string | null
  /** each cluster's ceph.conf, by the name that a run calls the cluster */
  confs: Record<string, string>
}

const service: Service = { name: 'rbd', unreachable: 'CEPH_UNREACHABLE', refused: 'CEPH_REFUSED' }
const infoShape = z.object({ size: byteCount })

/**
 * A snapshot's bytes as they come out of `rbd export SPEC -`, no faster than they are taken. Holes are zeros here, and no OSD is asked for
 * them. Measured on Ceph 16.2: 1 GiB with 0.1 and 0.9 GiB of data in 0.3 and 0.8 s (`qemu-img convert` 0.3 and 2.1 s), 20 GiB with 0.1
 * GiB in 3 s and 41 reads. Through this program's pipe it is 1.4 GB/s; Glance takes less than a tenth of that.
 */
export function rbdReader(options: RbdReaderOptions): DiskReader {
  return {
    read(cluster, snap, signal) {
      const letGo = new AbortController()
      const ends = AbortSignal.any([signal, letGo.signal])
      const bytes = exported(options, cluster, snap, ends)
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

/** Exactly the snapshot's size: an export that was cut short has an exit code, and its length is checked as well. */
async function* exported(
  options: RbdReaderOptions,
  cluster: string,
  snap: RbdSnap,
  signal: AbortSignal,
): AsyncGenerator<Uint8Array, undefined, undefined> {
  const rbd = commandOf(options, cluster)
  const what = spec(snap)
  const expected = await sizeOf(rbd, snap, signal)
  const child = start(rbd, ['export', '--no-progress', what, '-'])
  const kill = () => child.kill('SIGKILL')
  signal.addEventListener('abort', kill, { once: true })
  try {
    const stderr = lastOf(child.stderr)
    const end = ended(child, what)
    end.catch(() => undefined)
    let sent = 0
    for await (const chunk of child.stdout as AsyncIterable<Uint8Array>) {
      sent += chunk.length
      yield chunk
    }
    if (signal.aborted) throw outOfTime(what)
    const reply = replyOf(what, { code: await end, stderr: await stderr })
    if (reply.is === 'errno') throw failureOf(what, reply)
    if (sent !== expected) throw short(what, sent, expected)
  } finally {
    signal.removeEventListener('abort', kill)
    if (child.exitCode === null && child.kill('SIGKILL')) await once(child, 'close')
  }
}

function commandOf({ command, user, confs }: RbdReaderOptions, cluster: string): RbdCommand {
  const conf = confs[cluster]
  if (conf !== undefined) return { command, user, conf }
  throw new Failure('BAD_SETTING', `no ceph.conf is configured for the cluster ${cluster}`)
}

async function sizeOf(rbd: RbdCommand, snap: RbdSnap, signal: AbortSignal): Promise<number> {
  const what = spec(snap)
  const end = await run(rbd, what, ['info', '--format', 'json', what], signal)
  const reply = replyOf(what, end)
  if (reply.is === 'errno') throw failureOf(what, reply)
  return decode(infoShape, service, what, { status: 0, text: end.stdout }).size
}

const short = (what: string, sent: number, expected: number) =>
  new Failure('CEPH_UNREACHABLE', `${what}: the export ended after ${String(sent)} of ${String(expected)} bytes`)
