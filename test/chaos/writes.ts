import { watch } from 'node:fs'

/** Sees the journal being written: a kill at that instant falls between the pages of one commit, or right behind it. */
export interface Writes {
  /** until so many more writes, or the time is up */
  next: (count: number, mostMs: number) => Promise<void>
  close: () => void
}

export function writesOf(journalPath: string): Writes {
  let seen = 0
  let wake: (() => void) | null = null
  let wanted = Infinity
  const watcher = watch(`${journalPath}-wal`, () => {
    seen += 1
    if (seen >= wanted) wake?.()
  })
  return {
    next(count, mostMs) {
      const { promise, resolve } = Promise.withResolvers<void>()
      wanted = seen + count
      const timer = setTimeout(resolve, Math.max(0, mostMs))
      wake = resolve
      if (count === 0) resolve()
      return promise.finally(() => {
        clearTimeout(timer)
        wake = null
        wanted = Infinity
      })
    },
    close: () => watcher.close(),
  }
}
