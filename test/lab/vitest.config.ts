import { defineConfig } from 'vitest/config'
import { BaseSequencer, type TestSpecification } from 'vitest/node'

/** What stops, kills or changes something that all of the cloud needs. */
const alone = [
  'ceph-dashboard',
  'doctor',
  'story-2-rescue',
  'story-3-fallback',
  'story-6-killed',
  'story-7-refused',
  'story-8-faults',
].map((name) => `test/lab/${name}.test.ts`)

const common = { pool: 'forks', testTimeout: 180_000, hookTimeout: 600_000 } as const

/** Each takes longer than most others together: begun last, it would run on by itself. */
const longest = ['story-2-take-over', 'story-4-guests', 'story-5-deleted-meanwhile', 'ceph-command']

class LongestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const rank = ({ moduleId }: TestSpecification) => {
      const at = longest.findIndex((name) => moduleId.endsWith(`/${name}.test.ts`))
      return at < 0 ? longest.length : at
    }
    return (await super.sort(files)).sort((a, b) => rank(a) - rank(b))
  }
}

/**
 * The suites that need a real cloud (`npm run lab:up`). Two files at a time have a tenant each, or pools of their own; a third one's
 * guests, which are emulated, slow all of them down. Those that break the cloud come after, one by one.
 */
export default defineConfig({
  test: {
    sequence: { sequencer: LongestFirst },
    projects: [
      {
        test: {
          ...common,
          name: 'beside each other',
          include: ['test/lab/**/*.test.ts'],
          exclude: alone,
          maxWorkers: 2,
          sequence: { groupOrder: 0 },
        },
      },
      {
        test: {
          ...common,
          name: 'alone',
          include: alone,
          maxWorkers: 1,
          fileParallelism: false,
          sequence: { groupOrder: 1 },
        },
      },
    ],
  },
})
