import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { properties } from '../../shared/names.ts'

/** What Nova must not copy from our image onto its own (non_inheritable_image_properties): each place names each property. */
test.each(['docs/operate.md', 'infra/lab/nova.ts'])('%s names every property of ours', (path) => {
  const page = readFileSync(path, 'utf8')
  const named = [...new Set(page.match(/(?<=[,'])rbdsnap_[a-z_]+(?=[,'\n])/g))]
  expect(named.toSorted()).toEqual(Object.values(properties).toSorted())
})
