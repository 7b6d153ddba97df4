/**
 * How long something took that one host began and another ended. Their clocks differ, by a second or two where NTP is broken, and what
 * took less than that would seem to have ended before it began.
 */
export function elapsedMs(sinceMs: number, nowMs: number): number {
  return Math.max(0, nowMs - sinceMs)
}
