/** Nearest rank: a value that was really measured. */
function percentile(values: number[], p: number): number {
  const sorted = values.toSorted((a, b) => a - b)
  return sorted[Math.min(sorted.length - 1, Math.max(0, Math.ceil((p / 100) * sorted.length) - 1))] ?? NaN
}

export interface Spread {
  n: number
  p50: number
  p95: number
  p99: number
  least: number
  most: number
}

export function spreadOf(values: number[]): Spread {
  const round = (v: number) => Math.round(v * 10) / 10
  return {
    n: values.length,
    p50: round(percentile(values, 50)),
    p95: round(percentile(values, 95)),
    p99: round(percentile(values, 99)),
    least: round(Math.min(...values)),
    most: round(Math.max(...values)),
  }
}

export function show(s: Spread, unit: string): string {
  return `p50 ${s.p50} ${unit}, p95 ${s.p95}, ${s.least}-${s.most} (n=${s.n})`
}
