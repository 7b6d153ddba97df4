/** How many calls a service answers at once, now and at most since the last `reset`: what a real one has threads for. */
export function loadGauge() {
  let now = 0
  let most = 0
  let calls = 0
  return {
    /** Counts a call until the function given back is called. */
    enter(): () => void {
      now += 1
      calls += 1
      most = Math.max(most, now)
      return () => {
        now -= 1
      }
    },
    read: () => ({ now, most, calls }),
    reset() {
      most = now
      calls = 0
    },
  }
}
export type LoadGauge = ReturnType<typeof loadGauge>
