import { coverage } from './coverage.ts'
import { minimise } from './minimise.ts'
import { mutate } from './mutate.ts'
import { random } from './random.ts'
import type { Target } from './target.ts'

/**
 * Coverage-guided: an input that reaches a block which none before it reached, or ends in a new way, is kept, and the next ones are
 * made from it. What it does depends on the seed alone, how far it comes on the time.
 */
export interface Report {
  target: string
  executions: number
  blocks: number
  knownBlocks: number
  kept: number
  ends: number
  broken: { input: string; words: string } | null
}

export interface Bounds {
  seed: number
  /** until one of them is reached */
  executions: number
  untilMs: number
}

/** What has run is asked for after so many inputs; only when something of it is new, one by one. */
const batch = 32
/** Ends that have an input's own words in them would fill the corpus. */
const mostEnds = 2_000

export async function fuzz(target: Target, { seed, executions, untilMs }: Bounds): Promise<Report> {
  const chance = random(seed)
  const covered = await coverage(target.covers)
  const corpus = target.seeds()
  const reached = new Set<string>()
  const ends = new Set<string>()
  let done = 0

  async function endOf(input: string): Promise<{ end: string } | { error: unknown }> {
    try {
      return { end: await target.feed(input) }
    } catch (error) {
      return { error }
    }
  }

  /** One input for each new block, the first that reached it. */
  async function reaching(inputs: string[]): Promise<{ found: string[]; broken: Report['broken'] }> {
    const fresh = new Set((await covered.taken()).filter((block) => !reached.has(block)))
    const found: string[] = []
    for (const input of inputs) {
      if (fresh.size === 0) break
      const again = await endOf(input)
      // It held a moment ago: an end that depends on time, or on what was fed before.
      if ('error' in again) return { found, broken: { input, words: wordsOf(again.error) } }
      const own = (await covered.taken()).filter((block) => fresh.delete(block))
      for (const block of own) reached.add(block)
      if (own.length > 0) found.push(input)
    }
    for (const block of fresh) reached.add(block)
    return { found, broken: null }
  }

  async function round(inputs: string[]): Promise<Report['broken']> {
    const ended = target.isConcurrent ? await Promise.all(inputs.map(endOf)) : await inTurn(inputs, endOf)
    done += inputs.length
    const kept = new Set<string>()
    for (const [i, input] of inputs.entries()) {
      const one = ended[i]
      if (!one) continue
      if ('error' in one) return { input: await smallest(target, input, one.error), words: wordsOf(one.error) }
      if (ends.has(one.end) || ends.size >= mostEnds) continue
      ends.add(one.end)
      kept.add(input)
    }
    const { found, broken } = await reaching(inputs)
    corpus.push(...new Set([...kept, ...found]))
    return broken
  }

  /** Every second time one of the newest: there the code is that the fewest inputs have reached. */
  const parent = () => chance.pick(chance.isOneIn(2) ? corpus.slice(-batch) : corpus)

  try {
    let broken = await round(target.seeds())
    while (broken === null && done < executions && Date.now() < untilMs)
      broken = await round(Array.from({ length: batch }, () => mutate(parent(), corpus, chance)))
    const counts = { executions: done, blocks: reached.size, knownBlocks: covered.known() }
    return { target: target.name, ...counts, kept: corpus.length, ends: ends.size, broken }
  } finally {
    await covered.close()
  }
}

async function inTurn<T>(inputs: string[], act: (input: string) => Promise<T>): Promise<T[]> {
  const all: T[] = []
  for (const input of inputs) all.push(await act(input))
  return all
}

/** Of those that break the same promise: a smaller input that breaks another one is another fault. */
function smallest(target: Target, input: string, error: unknown): Promise<string> {
  const wanted = kindOf(error)
  return minimise(input, async (less) => {
    try {
      await target.feed(less)
      return false
    } catch (other) {
      return kindOf(other) === wanted
    }
  })
}

const wordsOf = (error: unknown) => (error instanceof Error ? `${error.name}: ${error.message}` : String(error))
const kindOf = (error: unknown) => wordsOf(error).slice(0, 40)
