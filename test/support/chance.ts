/** A number from 0 to 1 that depends on these and nothing else (mulberry32). */
export function chance(...of: number[]): number {
  let a = of.reduce((hash, n) => Math.imul(hash ^ n, 2_654_435_761) + 1, 0x9e3779b9)
  a = Math.imul(a ^ (a >>> 15), a | 1)
  a ^= a + Math.imul(a ^ (a >>> 7), a | 61)
  return ((a ^ (a >>> 14)) >>> 0) / 4_294_967_296
}

export function pick<T>(from: readonly T[], ...of: number[]): T | undefined {
  return from[Math.floor(chance(...of) * from.length)]
}
