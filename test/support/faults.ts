import { Failure, type FailureCode } from '../../shared/failures.ts'
import type { Ports } from '../../shared/step.ts'
import { type Asked, theWire, type Wired } from './one-request.ts'

/**
 * Every port call of every function goes through here: it is counted, it takes time, and one of them can be broken.
 *
 * error     the call fails, before its effect or after it
 * crash     its function dies, before the effect, after it, or between two requests of the same call
 * pause     the rest of the world goes on, for less than a claim
 * sleep     the same beyond the claim and the queue's patience: another function has begun when this one wakes. What it was
 *           asking takes effect then (`sleep before`), or only the answer is late (`sleep after`).
 * hang      no answer, until the step's own time is up, or the function's, for a call that nothing can end
 * late      the same, and the request that was on its way takes effect after all, so much later
 * wrong     an answer that its API does not have (a proxy's page, half of the JSON), in place of the effect or after it
 */
export const callWays = [
  'error before',
  'error after',
  'crash before',
  'crash after',
  'pause before',
  'pause after',
  'sleep before',
  'sleep after',
  'hang',
] as const
type CallWay = (typeof callWays)[number]
/** `late 0 16000`: the call's first request takes effect 16 s later; `crash at 1`: the function dies before its second */
export type Way = CallWay | `late ${number} ${number}` | `crash at ${number}` | `wrong ${'before' | 'after'}`

export interface PortCall {
  /** `volumes.ensureClone` */
  name: string
  /** of the function that made it */
  step: string
  /** how many requests of it change something */
  requests: number
}

/** One delivery of one message to one function. */
export interface Life {
  step: string
  startedAtMs: number
  /** its own signal ends then; the function itself is stopped a little later */
  outOfTimeMs: number
  stopsAtMs: number
  isDead: boolean
  /** stopped by its host, which knows nothing of its time */
  isAsleep: boolean
  /** just woken: what had come in meanwhile is looked at before the timers are (libuv's poll comes first) */
  isDazed: boolean
  abort: () => void
  /** dead, or paused */
  stopped: (why: 'dead' | 'paused') => void
  renew: { act: () => Promise<void>; everyMs: number; dueAtMs: number } | null
}

export interface Meddler {
  calls: PortCall[]
  /** what to do to the call of this number */
  faultAt: (index: number, call: PortCall) => Way | null
  wired: Wired
  /** time goes by, and with it whatever is due in the world */
  pass: (ms: number) => void
  nowMs: () => number
  wait: (ms: number) => Promise<void>
  later: (ms: number, act: () => void) => void
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

/** Shorter than a claim. */
const pauseMs = 6_000
/** Longer than a claim and the longest visibility of a quick step. */
const sleepMs = 70_000
/** A monitor round for what changes a snapshot, hundredths of a second for the rest. */
const roundMs = 300
const costMs: Record<string, number> = {
  'volumes.ensureSnapshot': roundMs,
  'volumes.ensureSnapshotAbsent': roundMs,
  'guest.freeze': 80,
  'guest.thaw': 20,
}
const looksFirst = new Set([
  'volumes.ensureAbsent',
  'volumes.ensureSnapshotAbsent',
  'volumes.ensureCopy',
  'volumes.flatten',
  'images.claim',
  'images.ensureQueuedAbsent',
  'images.ensureLocation',
])
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
          const again = (late: unknown[]) => original.apply(of, late) as Promise<unknown>
          return call({ port, name: `${port}.${method}`, args, act: again }, life, meddler)
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

async function call(asked: Asked, life: Life, meddler: Meddler): Promise<unknown> {
  if (life.isDead) return never()
  const { name } = asked
  const made: PortCall = { name, step: life.step, requests: 0 }
  const way = meddler.faultAt(meddler.calls.push(made) - 1, made)
  const half = (costMs[name] ?? 10) / 2
  await meddler.turn()
  await spend(half, life, meddler)
  // It slept in a renewal that was due by then: the same as a sleep before this call.
  if (life.isDazed && looksFirst.has(name)) await wake(life, meddler)
  if (life.isDead) return never()
  await strike(way, 'before', asked, life, meddler)
  const result = await go(asked, made, way, life, meddler)
  await meddler.turn()
  await spend(half, life, meddler)
  if (life.isDead) return never()
  await strike(way, 'after', asked, life, meddler)
  return result
}

/** The effect: all of it, or up to the request that is cut off or held up. */
async function go(asked: Asked, made: PortCall, way: Way | null, life: Life, meddler: Meddler): Promise<unknown> {
  const [kind, nth, lateMs] = (way ?? '').split(' ')
  const target = kind === 'late' || (kind === 'crash' && nth === 'at') ? Number(kind === 'late' ? nth : lateMs) : null
  let isCut = false
  const effect = theWire(asked, meddler.wired, (request, act) => {
    made.requests = Math.max(made.requests, request + 1)
    if (request !== target) return
    isCut = true
    if (kind === 'late') meddler.later(Number(lateMs), act)
    throw new Error('the request is held up')
  })
  try {
    return await effect
  } catch (error) {
    if (!isCut) throw error
    if (kind === 'late') return hang(asked, life, meddler)
    die(life)
    return never()
  }
}

async function strike(
  way: Way | null,
  when: 'before' | 'after',
  asked: Asked,
  life: Life,
  meddler: Meddler,
): Promise<void> {
  if (way === `error ${when}`) throw new Failure(codes[asked.port] ?? 'UNKNOWN', `planted ${when} the effect`)
  if (way === `wrong ${when}`) throw new Failure('ANSWER_UNREADABLE', `planted ${when} the effect`)
  if (way === `crash ${when}`) {
    die(life)
    await never()
  }
  if (way === 'hang' && when === 'before') await hang(asked, life, meddler)
  if (way === `pause ${when}`) {
    life.stopped('paused')
    await meddler.wait(pauseMs)
    if (life.isDead) await never()
  }
  if (way === `sleep ${when}`) {
    life.isAsleep = true
    life.stopped('paused')
    await meddler.wait(sleepMs)
    life.isAsleep = false
    life.isDazed = true
    if (when === 'before' && looksFirst.has(asked.name)) await wake(life, meddler)
  }
}

/** A call that looks before it asks for anything is ended by its signal while it looks: timers are heeded before an answer is. */
async function wake(life: Life, meddler: Meddler): Promise<void> {
  life.isDazed = false
  await heedTimers(life, meddler)
}

/** Renewed while it hangs: the function lives. Its signal ends the call, but not one of the queue or the journal. */
async function hang({ args, name }: Asked, life: Life, meddler: Meddler): Promise<never> {
  life.stopped('paused')
  const isHeedful = args.at(-1) instanceof AbortSignal
  while (!life.isDead) {
    const untilMs = Math.min(life.outOfTimeMs, life.renew?.dueAtMs ?? Infinity)
    await meddler.wait(Math.max(1, untilMs - meddler.nowMs()))
    if (life.isDead) break
    await heedTimers(life, meddler)
    if (meddler.nowMs() < life.outOfTimeMs) continue
    if (isHeedful) throw new Failure('TIMEOUT', `${name} did not answer`)
    // One that was asleep when it should have been stopped is stopped now.
    await meddler.wait(Math.max(1, life.stopsAtMs - meddler.nowMs()))
    if (!life.isDead) die(life)
  }
  return never()
}

export function die(life: Life): void {
  life.isDead = true
  life.stopped('dead')
}

async function spend(ms: number, life: Life, meddler: Meddler): Promise<void> {
  meddler.pass(ms)
  if (life.isDazed) life.isDazed = false
  else await heedTimers(life, meddler)
}

async function heedTimers(life: Life, meddler: Meddler): Promise<void> {
  if (life.isDead) return
  if (meddler.nowMs() >= life.outOfTimeMs) life.abort()
  const { renew } = life
  if (!renew || meddler.nowMs() < renew.dueAtMs) return
  renew.dueAtMs = meddler.nowMs() + renew.everyMs
  await renew.act().catch(() => undefined)
}

function brokenStream(name: string, act: () => ReadableStream, life: Life, meddler: Meddler): ReadableStream {
  const made = { name, step: life.step, requests: 0 }
  const way = meddler.faultAt(meddler.calls.push(made) - 1, made)
  if (way === null || !/^(error|crash) (before|after)$/.test(way)) return act()
  const isAfter = way.endsWith('after')
  const source = act().getReader()
  return new ReadableStream({
    async pull(controller) {
      const { value } = isAfter ? await source.read() : { value: undefined }
      if (value) controller.enqueue((value as Uint8Array).subarray(0, 10))
      if (way.startsWith('crash')) {
        die(life)
        // Glance sees the connection end
        controller.error(new Error('the client is gone'))
      } else controller.error(new Failure('CEPH_UNREACHABLE', 'planted in the middle of the bytes'))
    },
  })
}
