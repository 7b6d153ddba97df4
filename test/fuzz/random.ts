/** The same numbers for the same seed, everywhere (mulberry32): a run can be had again. */
export interface Random {
  /** a whole number from 0 to below `limit` */
  below: (limit: number) => number
  isOneIn: (many: number) => boolean
  pick: <T>(from: readonly T[]) => T
}

export function random(seed: number): Random {
  let state = seed >>> 0
  const next = () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
  const below = (limit: number) => Math.floor(next() * limit)
  return {
    below,
    isOneIn: (many) => below(many) === 0,
    pick(from) {
      const found = from[below(from.length)]
      if (found === undefined) throw new Error('there is nothing to pick from')
      return found
    },
  }
}
