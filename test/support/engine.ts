import { ingest } from '../../functions/ingest.ts'
import { cleanup } from '../../functions/cleanup.ts'
import { clone } from '../../functions/clone.ts'
import { fallback } from '../../functions/fallback.ts'
import { flatten } from '../../functions/flatten.ts'
import { quiesce } from '../../functions/quiesce.ts'
import { register } from '../../functions/register.ts'
import { snapshot } from '../../functions/snapshot.ts'
import { sweep } from '../../functions/sweep.ts'
import { thaw } from '../../functions/thaw.ts'
import { unwind } from '../../functions/unwind.ts'
import { drive, type DriveContext } from '../../shared/drive.ts'
import { driveIngest } from '../../shared/drive-ingest.ts'
import { besides, pipeline, type QueueStep } from '../../shared/pipeline.ts'
import { settleAfterMs } from '../../shared/settle.ts'
import type { Message, RunStep } from '../../shared/run.ts'
import type { Ports, Step } from '../../shared/step.ts'
import type { Held } from '../fakes/queue.ts'
import type { World } from '../fakes/world.ts'
import { die, meddledPorts, type Life, type Meddler } from './faults.ts'

/**
 * Runs the real driver and the real steps on a fake world as the engines do: at least once, a message that was not
 * acknowledged comes again when its visibility is over, a function that takes too long is killed, the sweep comes once a
 * minute. Until nothing moves any more.
 */
export interface Engine {
  meddler: Meddler
  /** Delivers this message and lets its function run to its end, or to its death, or to its pause. */
  deliver(held: Held): Promise<void>
  /** Several functions at once, their port calls taking turns as `pick` says. */
  deliverTogether(helds: Held[], pick: (of: number) => number): Promise<void>
  sweep(): Promise<void>
  /** To the next moment at which something happens; what is due then is done. */
  step(): Promise<void>
  /** @param step how to go on, when it is not to be one message after the other */
  toRest(step?: () => Promise<void>): Promise<void>
}

const sweepEveryMs = 60_000
/** as in shared/lambda.ts */
const settleMs = 2_000
const longestMs = 3 * 86_400_000
const mostDeliveries = 5_000
const steps: { [S in RunStep]: Step<S> } = { quiesce, snapshot, clone, register, flatten, cleanup, fallback, unwind }

export function makeEngine(world: World, faultAt: Meddler['faultAt'] = () => null): Engine {
  const { clock, queue } = world
  const startedAtMs = clock.nowMs()
  let deliveries = 0
  const paused = new Set<Life>()
  let sweepDueMs = clock.nowMs() + sweepEveryMs
  let idleSweeps = 0
  let waiters: (() => void)[] | null = null

  const meddler: Meddler = {
    calls: [],
    faultAt,
    pass: (ms) => clock.advanceTo(clock.nowMs() + ms),
    nowMs: clock.nowMs,
    wait: (ms) => new Promise((resolve) => clock.in(ms, resolve)),
    later: (ms, act) => void clock.in(ms, act),
    wired: world.wire,
    turn: () => (waiters ? new Promise<void>((resolve) => waiters?.push(resolve)) : Promise.resolve()),
  }

  /** One life of one function; resolves when it has ended, died or paused. */
  function live(step: QueueStep, act: (ports: Ports, ctx: DriveContext) => Promise<void>): Promise<void> {
    deliveries += 1
    const { promise, resolve } = Promise.withResolvers<void>()
    const { timeoutMs } = step in pipeline ? pipeline[step as RunStep] : besides[step as keyof typeof besides]
    const controller = new AbortController()
    const life: Life = {
      step,
      startedAtMs: clock.nowMs(),
      outOfTimeMs: clock.nowMs() + timeoutMs - settleMs,
      stopsAtMs: clock.nowMs() + timeoutMs,
      isDead: false,
      isAsleep: false,
      isDazed: false,
      abort: () => controller.abort(),
      renew: null,
      stopped: (why) => (why === 'paused' ? paused.add(life) && resolve() : end()),
    }
    const spare = clock.in(timeoutMs, () => (life.isAsleep ? undefined : die(life)))
    const end = () => {
      spare()
      paused.delete(life)
      resolve()
    }
    const ctx: DriveContext = {
      clock,
      signal: controller.signal,
      settings: world.settings,
      token: `token-${deliveries}`,
      jitter: 0.5,
      keepAlive: (renew, everyMs) => {
        life.renew = { act: renew, everyMs, dueAtMs: clock.nowMs() + everyMs }
        return async () => {
          life.renew = null
        }
      },
    }
    act(meddledPorts(world.ports, life, meddler), ctx).then(end, end)
    return promise
  }

  function begin(held: Held): Promise<void> {
    const message = queue.take(held)
    if (!message) return Promise.resolve()
    return live(message.step, async (ports, ctx) => {
      if (await handle(message, ports, ctx)) queue.acknowledge(held)
    })
  }

  async function doSweep(): Promise<void> {
    sweepDueMs = clock.nowMs() + sweepEveryMs
    idleSweeps += 1
    // Nothing happens until the last look at the runs: their quarter of an hour is not swept minute by minute.
    const lastLookMs = (world.store.unsettledSinceMs() ?? 0) + settleAfterMs + 1
    if (idleSweeps >= 2 && !isMoving()) sweepDueMs = Math.max(sweepDueMs, lastLookMs)
    await live('sweep', async (ports, ctx) => {
      const did = await sweep(ports, ctx)
      if (did.thawed + did.sentAgain + did.found + did.settled > 0) idleSweeps = 0
    })
  }

  const isMoving = () =>
    queue.all().length > 0 ||
    clock.nextMs() !== null ||
    paused.size > 0 ||
    world.store.runs().some((r) => r.outcome === null)
  const isAtRest = () => !isMoving() && idleSweeps >= 2 && world.store.unsettledSinceMs() === null

  const engine: Engine = {
    meddler,
    deliver: begin,
    sweep: doSweep,

    async deliverTogether(helds, pick) {
      const turns: (() => void)[] = []
      waiters = turns
      let left = helds.length
      for (const held of helds) void begin(held).then(() => (left -= 1))
      while (left > 0) {
        await settled()
        const [next] = turns.splice(turns.length > 1 ? pick(turns.length) : 0, 1)
        next?.()
      }
      waiters = null
      for (const next of turns) next()
      await settled()
    },

    async step() {
      const [due] = queue.due()
      if (due) return begin(due)
      const moments = [queue.nextMs(), clock.nextMs(), sweepDueMs].filter((ms) => ms !== null)
      clock.advanceTo(Math.min(...moments))
      if (paused.size > 0) await settled()
      if (clock.nowMs() >= sweepDueMs) await doSweep()
    },

    async toRest(step = engine.step) {
      idleSweeps = 0
      while (!isAtRest()) {
        await step()
        if (deliveries > mostDeliveries || clock.nowMs() - startedAtMs > longestMs) {
          throw new Error(`it never comes to rest: ${sayOpen(world)}`)
        }
      }
    },
  }
  return engine
}

/** As the handlers in shared/lambda.ts do. */
async function handle(message: Message, ports: Ports, ctx: DriveContext): Promise<boolean> {
  switch (message.step) {
    case 'ingest':
      await driveIngest(message, ingest, ports, ctx)
      return true
    case 'thaw': {
      const again = await thaw(message, ports, ctx)
      if (again) await ports.queue.send(message, again.againInMs)
      return true
    }
    case 'sweep':
      await sweep(ports, ctx)
      return true
    default:
      return (await drive(message, steps[message.step] as Step<RunStep>, ports, ctx)).is === 'acknowledged'
  }
}

/** Lets every function that can go on do so. */
function settled(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve))
}

function sayOpen({ store, queue }: World): string {
  const open = store.runs().filter((r) => r.outcome === null)
  const said = open.map((r) => `${r.wish.run} at ${r.message.step} hop ${r.hop} (${r.timeline.at(-1)?.words ?? ''})`)
  return [...said, `${queue.all().length} messages`].join('; ')
}
