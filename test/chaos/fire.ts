import { chance } from '../support/chance.ts'
import type { Outages } from './outages.ts'
import { blowOf, victims, type Blow, type Victim } from './schedule.ts'
import type { Stage } from './stage.ts'
import type { Writes } from './writes.ts'

/** What was done to the processes, as it is told at the end. */
export interface Fired {
  kills: Record<Victim, number>
  /** of the kills, those within two seconds of another kill of the same part: most of them while it was coming back */
  young: number
  /** blows that found their process not started again yet, which are no kills */
  missed: number
  pauses: number
  longestPauseMs: number
  fullTimes: number
  fullMs: number
  blows: number
  tookMs: number
}

export interface Fire {
  seed: number
  kills: number
  perSecond: number
  untilMs: number
  onKill: (kills: Fired['kills']) => void
}

const youngMs = 2_000

export function totalOf(kills: Record<Victim, number>): number {
  return Object.values(kills).reduce((sum, n) => sum + n, 0)
}

export async function fire(
  stage: Stage,
  outages: Outages,
  writes: Writes,
  nextSkewMs: () => number,
  how: Fire,
): Promise<Fired> {
  const kills = Object.fromEntries(victims.map((victim) => [victim, 0])) as Record<Victim, number>
  const fired: Fired = {
    kills,
    young: 0,
    missed: 0,
    pauses: 0,
    longestPauseMs: 0,
    fullTimes: 0,
    fullMs: 0,
    blows: 0,
    tookMs: 0,
  }
  const startedAtMs = Date.now()
  /** killed, and perhaps not buried yet */
  const dead = new Set<number>()
  const lastKillMs = new Map<Victim, number>()
  const underWay = new Set<Promise<void>>()
  const aside = (work: Promise<void>) => void underWay.add(work.finally(() => underWay.delete(work)))

  function kill(victim: Victim, which: number): void {
    // The kernel gives their numbers away again within the hour: whoever got one could not be killed any more.
    for (const pid of dead) if (!isAlive(pid)) dead.delete(pid)
    const pids = stage.pidsOf(victim).filter((pid) => pid > 0 && !dead.has(pid))
    const pid = pids[Math.floor(which * pids.length)]
    if (pid === undefined || !isAlive(pid)) {
      fired.missed += 1
      return
    }
    const skewMs = nextSkewMs()
    if (victim !== 'function') stage.clocks.set(victim, skewMs)
    process.kill(pid, 'SIGKILL')
    dead.add(pid)
    if (victim === 'cloud') outages.born(skewMs)
    fired.kills[victim] += 1
    how.onKill(kills)
    if (victim !== 'function' && Date.now() - (lastKillMs.get(victim) ?? 0) < youngMs) fired.young += 1
    lastKillMs.set(victim, Date.now())
  }

  async function pause({ victim, which, forMs }: NonNullable<Blow['pause']>): Promise<void> {
    const pids = stage.pidsOf(victim).filter((pid) => pid > 0 && !dead.has(pid))
    const pid = pids[Math.floor(which * pids.length)]
    if (pid === undefined || !signal(pid, 'SIGSTOP')) return
    fired.pauses += 1
    fired.longestPauseMs = Math.max(fired.longestPauseMs, forMs)
    await after(forMs)
    signal(pid, 'SIGCONT')
  }

  async function fillDisk(forMs: number): Promise<void> {
    if (stage.disk.isNever !== null) return
    fired.fullTimes += 1
    fired.fullMs += forMs
    stage.disk.fill()
    await after(forMs)
    stage.disk.free()
  }

  for (let n = 0; totalOf(kills) < how.kills && Date.now() < how.untilMs; n++) {
    const blow = blowOf(how.seed, n, how.perSecond)
    if (blow.pause) aside(pause(blow.pause))
    if (blow.fullMs !== null) aside(fillDisk(blow.fullMs))
    const beganMs = Date.now()
    await after(blow.leastMs)
    await writes.next(blow.writes, blow.mostMs - (Date.now() - beganMs))
    for (const [i, victim] of blow.victims.entries())
      kill(victim, chance(how.seed, n, 30 + i, Math.floor(blow.which * 1000)))
    fired.blows = n + 1
    fired.tookMs = Date.now() - startedAtMs
  }
  await Promise.all(underWay)
  return fired
}

function isAlive(pid: number): boolean {
  return signal(pid, 0)
}

function signal(pid: number, name: NodeJS.Signals | 0): boolean {
  try {
    return process.kill(pid, name)
  } catch {
    return false
  }
}

function after(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms))
}
