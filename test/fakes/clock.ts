import type { Clock } from '../../shared/ports/clock.ts'

/** Time that passes only when it is told to; whatever was set for a moment on the way happens at that moment. */
export interface FakeClock extends Clock {
  at(ms: number, act: () => void): void
  /** @returns how to call it off */
  in(ms: number, act: () => void): () => void
  advanceTo(ms: number): void
  nextMs(): number | null
}

export function fakeClock(startMs = Date.parse('2026-11-23T10:00:00Z')): FakeClock {
  let now = startMs
  let timers: { ms: number; act: () => void }[] = []
  const next = () => timers.reduce<number | null>((least, t) => (least === null || t.ms < least ? t.ms : least), null)
  return {
    nowMs: () => now,
    at: (ms, act) => void timers.push({ ms, act }),
    in(ms, act) {
      const timer = { ms: now + ms, act }
      timers.push(timer)
      return () => {
        timers = timers.filter((t) => t !== timer)
      }
    },
    nextMs: next,
    advanceTo(ms) {
      for (let due = next(); due !== null && due <= ms; due = next()) {
        const timer = timers.find((t) => t.ms === due)
        timers = timers.filter((t) => t !== timer)
        now = Math.max(now, due)
        timer?.act()
      }
      now = Math.max(now, ms)
    },
  }
}
