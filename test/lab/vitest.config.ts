import { defineConfig } from 'vitest/config'

/** The suites that need a real cloud (`npm run lab:up`). One file at a time: they share it, and some of them break parts of it. */
export default defineConfig({
  test: {
    include: ['test/lab/**/*.test.ts'],
    fileParallelism: false,
    testTimeout: 180_000,
    hookTimeout: 600_000,
  },
})
