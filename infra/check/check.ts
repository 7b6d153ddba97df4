import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

/**
 * `npm run check`: everything that can be said of the code without running it. The longest goes first, two at a time.
 * Another tree than this one may be named, which is how the tests show that each check can fail.
 */
const root = process.argv[2] ?? fileURLToPath(new URL('../..', import.meta.url))
const atOnce = 2

const checks: Record<string, string[]> = {
  lint: ['node_modules/eslint/bin/eslint.js', '.', '--max-warnings', '0'],
  format: ['node_modules/prettier/bin/prettier.cjs', '--check', '--log-level', 'warn', '.'],
  types: ['node_modules/@typescript/native/bin/tsc', '--noEmit', '-p', '.'],
  'dead code': ['node_modules/knip/bin/knip.js', '--no-progress'],
  dependencies: ['infra/check/dependencies.ts'],
}

function run(args: string[]): Promise<{ isGood: boolean; says: string }> {
  return new Promise((resolve) => {
    execFile(process.execPath, args, { cwd: root, maxBuffer: 64 * 1024 * 1024 }, (error, out, err) =>
      resolve({ isGood: error === null, says: `${out}${err}`.trim() }),
    )
  })
}

async function check(name: string, args: string[]): Promise<boolean> {
  const startedMs = performance.now()
  const { isGood, says } = await run([join(root, args[0] ?? ''), ...args.slice(1)])
  const took = `${((performance.now() - startedMs) / 1000).toFixed(1)} s`
  console.log(isGood ? `ok ${name} ${took}` : `${says}\nFAILED ${name} ${took}`)
  return isGood
}

async function worker(queue: [string, string[]][]): Promise<boolean> {
  let isGood = true
  for (let next = queue.shift(); next; next = queue.shift()) {
    isGood = (await check(...next)) && isGood
  }
  return isGood
}

const queue = Object.entries(checks)
const results = await Promise.all(Array.from({ length: atOnce }, () => worker(queue)))
process.exitCode = results.every(Boolean) ? 0 : 1
