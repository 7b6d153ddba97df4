import { defineConfig } from 'vitest/config'

/** What stops, kills or changes something that all of the cloud needs. */
const alone = [
  'ceph',
  'ceph-facts',
  'ceph-killed',
  'doctor',
  'story-2-rescue',
  'story-3-fallback',
  'story-6-killed',
  'story-7-refused',
  'story-8-faults',
].map((name) => `test/lab/${name}.test.ts`)

const common = { pool: 'forks', testTimeout: 180_000, hookTimeout: 600_000 } as const

/** The suites that need a real cloud (`npm run lab:up`). Two files at a time have a tenant each; those that break it come after, one by one. */
export default defineConfig({
  test: {
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
