import { availableParallelism } from 'node:os'
import { defineConfig } from 'vitest/config'

export default defineConfig({
  test: {
    environment: 'node',
    // a process for each file: several start servers, signal processes or open databases
    pool: 'forks',
    // vitest leaves one core to itself. Most of the time is spent waiting for processes, so of two cores that is half for nothing
    maxWorkers: Math.max(2, availableParallelism() - 1),
    include: ['test/**/*.test.ts'],
    // the lab needs a real Ceph and OpenStack, the bench a quiet machine; every fault in turn, and hostile input, take minutes
    // (`npm run test:faults`)
    exclude: ['test/lab/**', 'test/bench/**', 'test/faults/**', 'test/fuzz/**', '**/node_modules/**'],
    testTimeout: 20_000,
    hookTimeout: 60_000,
    teardownTimeout: 10_000,
  },
})
