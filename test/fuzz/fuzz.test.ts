import { describe, expect, it } from 'vitest'
import { fuzz } from './fuzz.ts'
import { minimise } from './minimise.ts'
import { planted } from './planted.ts'
import type { Target } from './target.ts'
import { targets } from './targets.ts'

/** A short round of each target; the long ones are `npm run fuzz -- --minutes N --seed S`. */
const round = { seed: 1, executions: 160, untilMs: Infinity }
const search = { seed: 1, executions: 20_000, untilMs: Infinity }

describe('hostile input', () => {
  it.each(Object.entries(targets))('%s: every promise holds', async (name, make) => {
    const report = await fuzz(make(), round)
    expect(report.broken).toBeNull()
    // the rules are small: a round was seen to reach sixteen there
    expect(report.blocks).toBeGreaterThan(name === 'rules' ? 10 : 20)
    expect(report.ends).toBeGreaterThan(2)
  })

  it('has a planted fault for each target', () => {
    expect(Object.keys(planted).map((name) => name.split(':')[0])).toEqual(Object.keys(targets))
  })

  it.each(Object.entries(planted))('finds a planted fault: %s', async (_name, make) => {
    const { broken } = await fuzz(make(), search)
    expect(broken).not.toBeNull()
    // as it is printed, it breaks the same promise again
    await expect((async () => make().feed(broken?.input ?? ''))()).rejects.toThrow()
  })
})

describe('the fuzzer', () => {
  const small = () => targets['rules']?.() as Target

  it('does the same for the same seed, and something else for another', async () => {
    const [first, again, other] = [
      await fuzz(small(), round),
      await fuzz(small(), round),
      await fuzz(small(), { ...round, seed: 2 }),
    ]
    expect(again).toEqual(first)
    expect(other).not.toEqual(first)
  })

  /** Four letters at once are one in billions; one after the other, each in a block of its own, they are found. */
  it('goes on from an input that reached a new block', async () => {
    const maze: Target = {
      name: 'maze',
      covers: ['fuzz.test.ts'],
      seeds: () => ['aaaa'],
      feed(input) {
        if (input.startsWith('F'))
          if (input[1] === 'U') if (input[2] === 'Z') if (input[3] === '!') throw new Error('found')
        return 'the same'
      },
    }
    const { broken, kept } = await fuzz(maze, { seed: 1, executions: 400_000, untilMs: Infinity })
    expect(broken?.input).toBe('FUZ!')
    expect(kept).toBeGreaterThan(3)
  })

  it('leaves out of a failing input what it fails without', async () => {
    expect(await minimise(`${'x'.repeat(500)}a${'y'.repeat(300)}b`, async (text) => /a.*b/.test(text))).toBe('ab')
  })
})
