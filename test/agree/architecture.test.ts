import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { diagram } from '../../infra/check/diagram.ts'
import { besides, pipeline } from '../../shared/pipeline.ts'

const page = readFileSync('docs/architecture.md', 'utf8')

test('the page shows the pipeline as it is', () => {
  const shown = /<!-- pipeline -->\n\n(?<drawn>[^]*?)\n\n<!-- \/pipeline -->/.exec(page)?.groups?.['drawn']
  expect(shown, 'paste the output of `node infra/check/diagram.ts` between the markers').toBe(diagram())
})

test('every step is in the drawing', () => {
  for (const step of [...Object.keys(pipeline), ...Object.keys(besides)]) expect(diagram()).toMatch(`  ${step}`)
})

test('every file that the page names is there', () => {
  const named = [...page.matchAll(/`((?:functions|shared|infra|test|docs)\/[\w./-]+\.\w+)`/g)].map((m) => m[1] ?? '')
  expect(named.length).toBeGreaterThan(5)
  for (const path of named) expect(() => readFileSync(path), path).not.toThrow()
})
