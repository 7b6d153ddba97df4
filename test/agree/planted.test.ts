import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { checkDependencies, judge } from '../../infra/check/dependencies.ts'
import { plant } from './planted-tree.ts'

/** A check that cannot fail checks nothing: each rule is broken once, and must say so. */
const trees: string[] = []
afterAll(() => trees.forEach((tree) => rmSync(tree, { recursive: true, force: true })))

function planted(files: Record<string, string>): string {
  const tree = plant(files)
  trees.push(tree)
  return tree
}

function check(tree: string): { status: number | null; says: string } {
  const { status, stdout, stderr } = spawnSync(process.execPath, ['infra/check/check.ts', tree], {
    encoding: 'utf8',
    env: { ...process.env, NO_COLOR: '1' },
  })
  return { status, says: stdout + stderr }
}

const wrong: Record<string, string> = {
  'functions/hasty.ts': `import { lambda } from '../shared/lambda.ts'

async function late(): Promise<number> {
  return Promise.resolve(1)
}

export const handler = lambda(() => {
  late()
  return Date.now()
})
`,
  'functions/loose.ts': `import { lambda } from '../shared/lambda.ts'

const some: any = 1
export const handler = lambda(() => some as number)
`,
  'functions/mistyped.ts': `import { lambda } from '../shared/lambda.ts'

export const handler = lambda(() => 'late')
`,
  'functions/unformatted.ts': `import { lambda } from "../shared/lambda.ts";
export const handler = lambda(() => 1);
`,
  'functions/dead.ts': `import { lambda } from '../shared/lambda.ts'
import { used } from '../shared/half-used.ts'

export const handler = lambda(() => used)
`,
  'shared/half-used.ts': `export const used = 1
export const nobodyTakesThis = 2
`,
}

describe('npm run check', { timeout: 60_000 }, () => {
  test('passes a sound tree, one line a check', () => {
    const { status, says } = check(planted({}))
    expect(says.trim().split('\n').sort()).toEqual([
      expect.stringMatching(/^ok dead code \d+\.\d s$/),
      expect.stringMatching(/^ok dependencies \d+\.\d s$/),
      expect.stringMatching(/^ok format \d+\.\d s$/),
      expect.stringMatching(/^ok lint \d+\.\d s$/),
      expect.stringMatching(/^ok types \d+\.\d s$/),
    ])
    expect(status).toBe(0)
  })

  describe('on a tree with one violation of each kind', () => {
    let checked: ReturnType<typeof check>
    beforeAll(() => {
      checked = check(planted(wrong))
    })

    test('fails', () => {
      expect(checked.status).toBe(1)
    })

    test.each([
      ['a floating promise', /FAILED lint/, /no-floating-promises/],
      ['an any', /FAILED lint/, /no-explicit-any/],
      ['a clock of its own in a step', /FAILED lint/, /The time is ctx\.clock\.nowMs\(\)/],
      ['a type error', /FAILED types/, /mistyped\.ts.*TS2322/],
      ['a wrong format', /FAILED format/, /unformatted\.ts/],
      ['an export that nobody takes', /FAILED dead code/, /nobodyTakesThis/],
    ])('finds %s', (_, check, finding) => {
      expect(checked.says).toMatch(check)
      expect(checked.says).toMatch(finding)
    })
  })
})

describe('the import rules', () => {
  const violations: [rule: string, files: Record<string, string>][] = [
    [
      'no-cycle',
      {
        'shared/a.ts': "import type { B } from './b.ts'\nexport type A = B | 1\n",
        'shared/b.ts': "import type { A } from './a.ts'\nexport type B = A | 2\n",
      },
    ],
    ['resolves', { 'shared/a.ts': "import { b } from './nowhere.ts'\nexport const a = b\n" }],
    ['function-is-pure', { 'functions/a.ts': "import { join } from 'node:path'\nexport const a = join\n" }],
    [
      'function-is-pure',
      { 'functions/a.ts': "import { compose } from '../shared/compose.ts'\nexport const a = compose\n" },
    ],
    ['function-stands-alone', { 'functions/a.ts': "import { handler } from './thaw.ts'\nexport const a = handler\n" }],
    [
      'outside-world-through-adapters',
      { 'shared/a.ts': "import { SQSClient } from '@aws-sdk/client-sqs'\nexport const a = SQSClient\n" },
    ],
    [
      'outside-world-through-adapters',
      { 'shared/a.ts': "import { DatabaseSync } from 'node:sqlite'\nexport const a = DatabaseSync\n" },
    ],
    ['middy-in-lambda-only', { 'shared/a.ts': "import middy from '@middy/core'\nexport const a = middy\n" }],
    [
      'tests-are-not-imported',
      { 'shared/a.ts': "import { t } from '../test/t.ts'\nexport const a = t\n", 'test/t.ts': 'export const t = 1\n' },
    ],
    [
      'adapters-are-composed',
      { 'shared/a.ts': "import { systemClock } from './adapters/system-clock.ts'\nexport const a = systemClock\n" },
    ],
    [
      'shared-looks-inward',
      {
        'shared/a.ts': "import { i } from '../infra/i.ts'\nexport const a = i\n",
        'infra/i.ts': 'export const i = 1\n',
      },
    ],
    [
      'ports-are-types',
      { 'shared/ports/a.ts': "import { compose } from '../compose.ts'\nexport type A = typeof compose\n" },
    ],
    [
      'ports-stay-in-shared',
      { 'shared/ports/a.ts': "import type { SQSClient } from '@aws-sdk/client-sqs'\nexport type A = SQSClient\n" },
    ],
  ]

  test.each(violations)('%s', async (rule, files) => {
    const { wrong } = await checkDependencies(planted(files))
    expect(wrong).toContainEqual(expect.stringMatching(`^${rule}: `))
  })

  test('a sound tree breaks none, and all of its modules were seen', async () => {
    expect(await checkDependencies(planted({}))).toEqual({ seen: 7, exist: 7, wrong: [] })
  })

  test('an empty tree is not a sound one', async () => {
    const empty = mkdtempSync(join(tmpdir(), 'rbdsnap-planted-'))
    trees.push(empty)
    expect(await checkDependencies(empty)).toEqual({
      seen: 0,
      exist: 0,
      wrong: ['no module: there is nothing to look at'],
    })
  })

  test('a cruise that saw no module of those that there are is a failure', () => {
    const saw = { modules: [], summary: { violations: [] } }
    expect(judge(saw, ['functions/thaw.ts', 'shared/lambda.ts'])).toEqual({
      seen: 0,
      exist: 2,
      wrong: ['not seen: functions/thaw.ts, shared/lambda.ts'],
    })
  })
})
