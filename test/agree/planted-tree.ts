import { cpSync, mkdirSync, mkdtempSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join, resolve } from 'node:path'

/** A tree of its own with our rules and tools, small enough to be checked in seconds. */
const root = resolve(import.meta.dirname, '../..')
const rules = [
  '.dependency-cruiser.mjs',
  '.prettierrc.json',
  '.prettierignore',
  'eslint.config.mjs',
  'knip.jsonc',
  'tsconfig.json',
  'infra/check/check.ts',
  'infra/check/dependencies.ts',
]

const manifest = {
  name: 'planted',
  type: 'module',
  scripts: {
    check: 'node infra/check/check.ts',
    deps: 'node infra/check/dependencies.ts',
    lint: 'eslint .',
    format: 'prettier .',
    dead: 'knip',
    types: 'tsc',
  },
  dependencies: { '@middy/core': '7', '@aws-sdk/client-sqs': '3' },
  devDependencies: {
    '@types/node': '24',
    '@typescript/native': '7',
    'dependency-cruiser': '18',
    eslint: '10',
    knip: '5',
    prettier: '3',
    typescript: '6',
    'typescript-eslint': '8',
  },
}

/** One step, one port, one adapter, put together as the product is. Nothing is wrong with it. */
const sound: Record<string, string> = {
  'functions/thaw.ts': `import { lambda } from '../shared/lambda.ts'
import type { Clock } from '../shared/ports/clock.ts'

export const handler = lambda((clock: Clock) => clock.nowMs())
`,
  'shared/lambda.ts': `import middy from '@middy/core'
import { compose } from './compose.ts'
import type { Clock } from './ports/clock.ts'

export function lambda(step: (clock: Clock) => number) {
  return middy(() => step(compose()))
}
`,
  'shared/compose.ts': `import { systemClock } from './adapters/system-clock.ts'

export const compose = () => systemClock()
`,
  'shared/ports/clock.ts': `export interface Clock {
  nowMs: () => number
}
`,
  'shared/adapters/system-clock.ts': `import { SQSClient } from '@aws-sdk/client-sqs'
import type { Clock } from '../ports/clock.ts'

export const systemClock = (): Clock => ({ nowMs: () => (new SQSClient({}).config.apiVersion === '' ? 0 : Date.now()) })
`,
}

export function plant(files: Record<string, string>): string {
  const tree = mkdtempSync(join(tmpdir(), 'rbdsnap-planted-'))
  const write = (path: string, text: string) => {
    mkdirSync(dirname(join(tree, path)), { recursive: true })
    writeFileSync(join(tree, path), text)
  }
  for (const path of rules) cpSync(join(root, path), join(tree, path))
  symlinkSync(join(root, 'node_modules'), join(tree, 'node_modules'))
  write('package.json', `${JSON.stringify(manifest, null, 2)}\n`)
  for (const [path, text] of Object.entries({ ...sound, ...files })) write(path, text)
  return tree
}
