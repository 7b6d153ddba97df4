/**
 * A snapshot needs a new id from the monitor, and its removal a new map: both wait for the next Paxos round. Rounds
 * are on a fixed grid, so one call after idle waits half an interval, calls in turn wait a whole one, and sixteen at
 * once cost the same as one (Ceph's `paxos_propose_interval`, 1 s by default).
 */
export function monitorRounds(intervalMs: number) {
  let round: Promise<void> | null = null
  let timer: NodeJS.Timeout | undefined

  return {
    next(): Promise<void> {
      if (intervalMs <= 0) return Promise.resolve()
      round ??= new Promise((resolve) => {
        timer = setTimeout(
          () => {
            round = null
            resolve()
          },
          intervalMs - (Date.now() % intervalMs),
        )
      })
      return round
    },
    /** What still waits waits for ever, as it does for a monitor that is gone. */
    stop: () => clearTimeout(timer),
  }
}
export type MonitorRounds = ReturnType<typeof monitorRounds>
