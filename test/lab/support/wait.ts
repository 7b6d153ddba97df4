/** Looks again and again until what it sees is what is waited for; what it saw last stands in the error. */
export async function waitFor<T>(
  what: string,
  look: () => Promise<T>,
  isIt: (seen: T) => boolean,
  withinMs = 180_000,
  lookEveryMs = 500,
): Promise<T> {
  const endAtMs = Date.now() + withinMs
  for (;;) {
    const seen = await look()
    if (isIt(seen)) return seen
    if (Date.now() > endAtMs) {
      throw new Error(`${what}: not within ${withinMs / 1000} s; seen last: ${JSON.stringify(seen)?.slice(0, 1_000)}`)
    }
    await pause(lookEveryMs)
  }
}

export function pause(ms: number): Promise<void> {
  return new Promise((done) => setTimeout(done, ms))
}
