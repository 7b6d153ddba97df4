import { setTimeout as sleep } from 'node:timers/promises'

/**
 * When nobody could have thawed a guest, because the cloud or the queue did not answer: killed, standing still, or on a machine that
 * had no time for them. And how wrong the cloud's clock was in each of its lives: a guest's own notes are read with both.
 */
export interface Outages {
  /** the cloud's next life has this clock */
  born: (skewMs: number) => void
  /** of the time between two notes of a guest, by the true clock */
  between: (fromNotedMs: number, toNotedMs: number) => { ms: number; reachableMs: number }
  close: () => Promise<void>
}

const askEveryMs = 200
const patienceMs = 1_000

export function watchOutages(urls: string[]): Outages {
  const away: { fromMs: number; toMs: number }[] = []
  const lives: { fromMs: number; skewMs: number }[] = [{ fromMs: 0, skewMs: 0 }]
  const closing = new AbortController()

  // whatever is said is an answer
  const answers = (url: string) =>
    fetch(url, { signal: AbortSignal.timeout(patienceMs) }).then(
      async (answer) => (await answer.arrayBuffer(), true),
      () => false,
    )

  const watching = (async () => {
    let heardMs = Date.now()
    let isAway = false
    while (!closing.signal.aborted) {
      const askedMs = Date.now()
      const areUp = (await Promise.all(urls.map(answers))).every(Boolean)
      if (areUp && isAway) away.push({ fromMs: heardMs, toMs: Date.now() })
      if (areUp) heardMs = askedMs
      isAway = !areUp
      await sleep(askEveryMs)
    }
  })()

  function trueMs(notedMs: number): number {
    const life = lives.findLast(({ fromMs, skewMs }, i) => {
      const truly = notedMs - skewMs
      return truly >= fromMs && truly <= (lives[i + 1]?.fromMs ?? Infinity)
    })
    return notedMs - (life?.skewMs ?? 0)
  }

  return {
    born: (skewMs) => void lives.push({ fromMs: Date.now(), skewMs }),
    between(fromNotedMs, toNotedMs) {
      const [fromMs, toMs] = [trueMs(fromNotedMs), trueMs(toNotedMs)]
      const overlap = (a: { fromMs: number; toMs: number }) =>
        Math.max(0, Math.min(a.toMs, toMs) - Math.max(a.fromMs, fromMs))
      return { ms: toMs - fromMs, reachableMs: toMs - fromMs - away.reduce((sum, a) => sum + overlap(a), 0) }
    },
    async close() {
      closing.abort()
      await watching
    },
  }
}
