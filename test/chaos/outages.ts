/** When the cloud was away, and how wrong its clock was in each of its lives: a guest's own notes are read with both. */
export interface Outages {
  /** the cloud was killed, or stands still; ends by itself when it answers again */
  begin: () => void
  /** its next life has this clock */
  born: (skewMs: number) => void
  /** of the time between two notes of a guest, by the true clock, how long somebody could have reached it */
  reachableMs: (fromMs: number, toMs: number) => number
  close: () => void
}

const askEveryMs = 100
const patienceMs = 400

export function outagesOf(controlUrl: string): Outages {
  const away: { fromMs: number; toMs: number }[] = []
  const lives: { fromMs: number; skewMs: number }[] = [{ fromMs: 0, skewMs: 0 }]
  let open: { fromMs: number } | null = null
  let isClosed = false

  const answers = () =>
    fetch(`${controlUrl}/faults`, { signal: AbortSignal.timeout(patienceMs) }).then(
      (answer) => answer.ok,
      () => false,
    )

  async function watch(outage: { fromMs: number }): Promise<void> {
    while (!isClosed) {
      await new Promise((done) => setTimeout(done, askEveryMs))
      if (await answers()) break
    }
    away.push({ fromMs: outage.fromMs, toMs: Date.now() })
    open = null
  }

  function trueMs(notedMs: number): number {
    const life = lives.findLast(({ fromMs, skewMs }, i) => {
      const truly = notedMs - skewMs
      return truly >= fromMs && truly <= (lives[i + 1]?.fromMs ?? Infinity)
    })
    return notedMs - (life?.skewMs ?? 0)
  }

  return {
    begin() {
      if (open) return
      open = { fromMs: Date.now() }
      void watch(open)
    },
    born: (skewMs) => void lives.push({ fromMs: Date.now(), skewMs }),
    reachableMs(fromNotedMs, toNotedMs) {
      const [fromMs, toMs] = [trueMs(fromNotedMs), trueMs(toNotedMs)]
      const excusedMs = away.reduce(
        (sum, a) => sum + Math.max(0, Math.min(a.toMs, toMs) - Math.max(a.fromMs, fromMs)),
        0,
      )
      return toMs - fromMs - excusedMs
    },
    close() {
      isClosed = true
    },
  }
}
