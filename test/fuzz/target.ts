/** What is fed with hostile input. */
export interface Target {
  name: string
  /** the files whose blocks the inputs are to reach */
  covers: string[]
  /** inputs of the real thing, to begin with */
  seeds: () => string[]
  /** inputs may be fed at once: they share nothing, and wait */
  isConcurrent?: boolean
  /**
   * One input. @returns what came of it, in few words: an input with a new end is kept, like one that reaches a new block.
   * @throws when the property does not hold
   */
  feed: (input: string) => string | Promise<string>
}

/** A promise of the code under test that does not hold. */
export class Broken extends Error {}

export function holds(isSo: boolean, words: string): asserts isSo {
  if (!isSo) throw new Broken(words)
}
