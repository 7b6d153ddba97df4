import { Failure, type FailureCode } from '../../shared/failures.ts'
import type { Ports } from '../../shared/step.ts'

/**
 * Every port call of every function goes through here: it is counted, it takes time, and one of them can be broken. A call is
 * broken before its effect or after it, by an error, by the death of its function, or by a pause in which the rest of the
 * world goes on.
 */
export const faultKinds = [
  'error before',
  'error after',
  'crash before',
  'crash after',
  'pause before',
  'pause after',
] as const
export type FaultKind = (typeof faultKinds)[number]

export interface PortCall {
  /** `volumes.ensureClone` */
  name: string
  /** of the function that made it */
  step: string
}

/** One delivery of one message to one function. */
export interface Life {
  step: string
  startedAtMs: number
  isDead: boolean
  /** called once: dead, or paused */
  stopped: (why: 'dead' | 'paused') => void
  renew: { act: () => Promise<void>; everyMs: number; dueAtMs: number } | null
}

export interface Meddler {
  calls: PortCall[]
  /** what to do to the call of this number */
  faultAt: (index: number, call: PortCall) => FaultKind | null
  /** time goes by, and with it whatever is due in the world */
  pass: (ms: number) => void
  nowMs: () => number
  wait: (ms: number) => Promise<void>
  /** the turn of one of several functions that run at once */
  turn: () => Promise<void>
}

const codes: Record<string, FailureCode> = {
  compute: 'NOVA_UNREACHABLE',
  images: 'GLANCE_UNREACHABLE',
  volumes: 'CEPH_UNREACHABLE',
  reader: 'CEPH_UNREACHABLE',
  guest: 'GUEST_UNREACHABLE',
  queue: 'QUEUE_UNREACHABLE',
  journal: 'JOURNAL_UNREACHABLE',
  leases: 'JOURNAL_UNREACHABLE',
}

/** Shorter than a claim: a function that sleeps for longer, and wakes, is not told from two of them. */
const pauseMs = 6_000
/** A monitor round for what changes a snapshot, hundredths of a second for the rest. */
const roundMs = 300
const costMs: Record<string, number> = {
  'volumes.ensureSnapshot': roundMs,
  'volumes.ensureSnapshotAbsent': roundMs,
  'guest.freeze': 80,
  'guest.thaw': 20,
}
const never = <T>() => new Promise<T>(() => undefined)

export function meddledPorts(ports: Ports, life: Life, meddler: Meddler): Ports {
  const around = <T extends object>(port: string, target: T): T =>
    new Proxy(target, {
      get(of, method: string) {
        const original = of[method as keyof T]
        if (typeof original !== 'function') return original
        return (...args: unknown[]) => {
          const act = () => original.apply(of, args) as unknown
          if (port === 'reader') return brokenStream(`${port}.${method}`, act as () => ReadableStream, life, meddler)
          return call(port, `${port}.${method}`, act as () => Promise<unknown>, life, meddler)
        }
      },
    })
  return {
    compute: around('compute', ports.compute),
    images: around('images', ports.images),
    clusters: Object.fromEntries(Object.entries(ports.clusters).map(([name, v]) => [name, around('volumes', v)])),
    reader: around('reader', ports.reader),
    guest: around('guest', ports.guest),
    queue: around('queue', ports.queue),
    journal: around('journal', ports.journal),
    leases: around('leases', ports.leases),
  }
}

async function call<T>(port: string, name: string, act: () => Promise<T>, life: Life, meddler: Meddler): Promise<T> {
  if (life.isDead) return never()
  const made = { name, step: life.step }
  const index = meddler.calls.push(made) - 1
  const fault = meddler.faultAt(index, made)
  const half = (costMs[name] ?? 10) / 2
  await meddler.turn()
  await spend(half, life, meddler)
  if (life.isDead) return never()
  await strike(fault, 'before', port, life, meddler)
  const result = await act()
  await meddler.turn()
  await spend(half, life, meddler)
  if (life.isDead) return never()
  await strike(fault, 'after', port, life, meddler)
  return result
}

async function strike(
  fault: FaultKind | null,
  when: 'before' | 'after',
  port: string,
  life: Life,
  meddler: Meddler,
): Promise<void> {
  if (fault === `error ${when}`) throw new Failure(codes[port] ?? 'UNKNOWN', `planted ${when} the effect`)
  if (fault === `crash ${when}`) {
    die(life)
    await never()
  }
  if (fault === `pause ${when}`) {
    life.stopped('paused')
    await meddler.wait(pauseMs)
    if (life.isDead) await never()
  }
}

export function die(life: Life): void {
  life.isDead = true
  life.stopped('dead')
}

async function spend(ms: number, life: Life, meddler: Meddler): Promise<void> {
  meddler.pass(ms)
  const { renew } = life
  if (!renew || life.isDead || meddler.nowMs() < renew.dueAtMs) return
  renew.dueAtMs = meddler.nowMs() + renew.everyMs
  await renew.act().catch(() => undefined)
}

function brokenStream(name: string, act: () => ReadableStream, life: Life, meddler: Meddler): ReadableStream {
  const made = { name, step: life.step }
  const fault = meddler.faultAt(meddler.calls.push(made) - 1, made)
  if (fault === null || fault.startsWith('pause')) return act()
  const isAfter = fault.endsWith('after')
  const source = act().getReader()
  return new ReadableStream({
    async pull(controller) {
      const { value } = isAfter ? await source.read() : { value: undefined }
      if (value) controller.enqueue((value as Uint8Array).subarray(0, 10))
      if (fault.startsWith('crash')) {
        die(life)
        // Glance sees the connection end
        controller.error(new Error('the client is gone'))
      } else controller.error(new Failure('CEPH_UNREACHABLE', 'planted in the middle of the bytes'))
    },
  })
}
