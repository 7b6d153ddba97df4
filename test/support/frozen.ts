import type { World } from '../fakes/world.ts'

/** As the guests noted it themselves; while nobody could have reached one, nobody is to blame. */
export function longestFrozenMs({ guests, clock }: World): number {
  const now = clock.nowMs()
  const lengths = guests.intervals.map((i) => {
    const excusedMs = i.unreachable.reduce((sum, { fromMs, toMs }) => sum + (toMs ?? now) - fromMs, 0)
    return (i.toMs ?? now) - i.fromMs - excusedMs
  })
  return Math.max(0, ...lengths)
}
