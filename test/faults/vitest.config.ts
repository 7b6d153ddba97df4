import { defineConfig } from 'vitest/config'

/** Every fault, counted (`npm run test:faults`). All in memory, on a clock that is told to go: minutes of processor time, no waits. */
export default defineConfig({
  test: {
    include: ['test/faults/**/*.test.ts', 'test/fuzz/**/*.test.ts'],
    pool: 'forks',
    maxWorkers: 2,
    globalSetup: 'test/faults/tally.ts',
    testTimeout: 300_000,
    hookTimeout: 300_000,
  },
})
