import { defineConfig } from 'vitest/config'

const common = {
  environment: 'node',
  // a process for each file: several start servers, signal processes or open databases
  pool: 'forks',
  testTimeout: 20_000,
  hookTimeout: 60_000,
  teardownTimeout: 10_000,
} as const

/** A whole stack in which each fourth answer is lost. Seen to pass by itself and to fail beside the others; why is not known yet. */
const alone = ['test/e2e/secrets.test.ts']
// the lab needs a real Ceph and OpenStack, the bench a quiet machine; every fault in turn takes minutes (`npm run test:faults`)
const elsewhere = ['test/lab/**', 'test/bench/**', 'test/faults/**', 'test/fuzz/**', '**/node_modules/**']

export default defineConfig({
  test: {
    projects: [
      {
        test: {
          ...common,
          name: 'together',
          include: ['test/**/*.test.ts'],
          exclude: [...alone, ...elsewhere],
          sequence: { groupOrder: 0 },
        },
      },
      {
        test: {
          ...common,
          name: 'alone',
          include: alone,
          exclude: elsewhere,
          maxWorkers: 1,
          sequence: { groupOrder: 1 },
        },
      },
    ],
  },
})
