import { setTimeout as sleep } from 'node:timers/promises'
import { guestAgent } from '../../shared/adapters/guest-agent.ts'
import { instanceLease } from '../../shared/freeze.ts'
import { messageVersion } from '../../shared/run.ts'
import type { Freeze, Guest } from '../../infra/cloud/guests.ts'
import { memoryMib, type Engine } from './engine.ts'

/** What is looked at while a storm goes on. */
export interface Sample {
  ended: number
  memoryMib: Record<string, number>
}

export interface Load {
  now: number
  most: number
  calls: number
}

const sampleEveryMs = 1_000
const leaseMs = 35_000
/** as the functions have it by default */
export const budgetMs = 5_000

/** Ends when so many runs more than the `before` of {@link endedOf} have ended and none is open, or at `endAtMs`. */
export async function watchUntilOver(
  engine: Engine,
  before: number,
  wishes: number,
  endAtMs: number,
): Promise<Sample[]> {
  const samples: Sample[] = []
  for (;;) {
    const { open, ended } = await runsOf(engine)
    samples.push({ ended: ended - before, memoryMib: memoryMib(engine.session) })
    if ((ended - before >= wishes && open === 0) || Date.now() > endAtMs) return samples
    await sleep(sampleEveryMs)
  }
}

/** Asked before the wishes are: of thousands the first have ended before the last is asked for. */
export const endedOf = async (engine: Engine): Promise<number> => (await runsOf(engine)).ended

async function runsOf({ session }: Engine): Promise<{ open: number; ended: number }> {
  const counts = await session.journal.counts()
  const sum = (isOpen: boolean) => counts.reduce((n, c) => n + ((c.outcome === null) === isOpen ? c.runs : 0), 0)
  return { open: sum(true), ended: sum(false) }
}

/**
 * Freezes as `quiesce` does, lease noted, thaw armed, the answer noted, and then nothing more, as if the function had died: what ends them
 * is the dead man's message alone. One after the other over the guards, until stopped.
 */
export function keepFreezing({ session }: Engine, guards: string[]): { stop: () => Promise<void> } {
  const agent = guestAgent({ socket: session.env['RBDSNAP_GUEST_SOCKET'] ?? '', timeoutMs: budgetMs })
  const stopping = new AbortController()
  async function freeze(instance: string): Promise<void> {
    const askedAtMs = Date.now()
    const lease = await session.leases.take(instanceLease(instance), 'storm', askedAtMs, askedAtMs + leaseMs)
    if (!lease || lease.freeze) return
    const freeze = { askedAtMs, isConfirmed: false, host: null }
    const asked = await session.leases.save({ ...lease, freeze })
    if (!asked) return
    await session.queue.send({ v: messageVersion, step: 'thaw', instance, epoch: lease.epoch }, budgetMs)
    await agent.freeze({ instance, host: null }, askedAtMs + budgetMs, AbortSignal.timeout(budgetMs))
    await session.leases.save({ ...asked, freeze: { ...freeze, isConfirmed: true } })
  }
  const running = (async () => {
    for (let i = 0; !stopping.signal.aborted; i += 1) {
      // One that came too late is none; its thaw is armed all the same.
      await freeze(guards[i % guards.length] ?? '').catch(() => undefined)
      await sleep(2_000, undefined, { signal: stopping.signal }).catch(() => undefined)
    }
  })()
  return {
    async stop() {
      stopping.abort()
      await running
      await sleep(2 * budgetMs)
    },
  }
}

export interface Stood {
  instance: string
  fromMs: number
  lastedMs: number
}

/** How long each guest stood still each time, as the guests saw it; one that stands still yet until now. */
export async function freezesOf(engine: Engine, sinceMs: number): Promise<Stood[]> {
  const guests = await engine.cloud.control<Guest[]>('GET', '/guests')
  const stood = (id: string, { frozenAtMs, thawedAtMs }: Freeze): Stood => ({
    instance: id,
    fromMs: frozenAtMs,
    lastedMs: (thawedAtMs ?? Date.now()) - frozenAtMs,
  })
  return guests.flatMap(({ id, freezes }) => freezes.map((f) => stood(id, f)).filter((s) => s.fromMs >= sinceMs))
}
