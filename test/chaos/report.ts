import type { Outages } from './outages.ts'
import { totalOf, type Fired } from './fire.ts'
import { freezesOf, mostFrozenMs, type Verdict } from './verdict.ts'
import type { World } from './world.ts'

/** The table at the end: what was done, what came of it, and the counts that must be nothing. */
export function reportOf(
  fired: Fired,
  world: World,
  verdict: Verdict,
  outages: Outages,
  how: { seed: number; skewMs: number; isNeverFull: string | null },
): string {
  const total = totalOf(fired.kills)
  const seconds = fired.tookMs / 1000
  const freezes = freezesOf(world, outages)
  const longestMs = Math.round(Math.max(0, ...freezes.map(({ ms }) => ms)))
  const countedMs = Math.round(Math.max(0, ...freezes.map(({ reachableMs }) => reachableMs)))
  const row = (name: string, words: string) => `${name.padEnd(14)} ${words}`
  const counted = (names: string[]) =>
    [...Map.groupBy(names, (name) => name)]
      .map(([name, same]) => `${name} ${same.length}`)
      .sort()
      .join(', ')
  const words: Record<keyof Verdict, string> = {
    orphans: 'orphans',
    duplicates: 'duplicates',
    overdue: 'overdue',
    lost: 'lost wishes',
    tooGood: 'too good',
    open: 'open runs',
    bugs: 'bugs',
  }
  return [
    row('seed', `${how.seed}, ${fired.blows} blows`),
    row(
      'kills',
      `${total} in ${seconds.toFixed(0)} s, ${(total / seconds).toFixed(2)} a second: ${Object.entries(fired.kills)
        .map(([victim, n]) => `${victim} ${n}`)
        .join(', ')}`,
    ),
    row(
      '',
      `${fired.young} of a part within 2 s of its last kill; ${fired.missed} blows found it not started again yet`,
    ),
    row('clocks', `each process off by up to ${how.skewMs} ms either way, drawn anew at each start`),
    row('pauses', `${fired.pauses}, the longest ${fired.longestPauseMs} ms`),
    row('disk full', how.isNeverFull ?? `${fired.fullTimes} times, ${fired.fullMs} ms in all`),
    row(
      'wishes',
      `${world.wishes.length}: ${counted(world.wishes.map(({ is }) => is))}; servers deleted ${world.deletedServers.size}`,
    ),
    row('runs', `${world.runs.length}: ${counted(world.runs.map((r) => r.outcome ?? 'open'))}`),
    row(
      '',
      `with a code: ${counted(world.runs.flatMap((r) => (r.code === null ? [] : [`${r.outcome ?? 'open'} ${r.code}`]))) || 'none'}`,
    ),
    row('freezes', `${freezes.length}, the longest ${longestMs} ms as its guest saw it`),
    row('', `the longest with cloud and queue up ${countedMs} ms, of ${mostFrozenMs} ms allowed`),
    ...Object.entries(words).map(([key, name]) => row(name, String(verdict[key as keyof Verdict].length))),
    ...Object.entries(words).flatMap(([key, name]) =>
      verdict[key as keyof Verdict].slice(0, 20).map((what) => `  ${name}: ${what}`),
    ),
  ].join('\n')
}
