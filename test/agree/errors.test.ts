import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { settingNames } from '../../shared/config.ts'
import { failures, type FailureCode } from '../../shared/failures.ts'

/** Markdown as it reads: without escapes, on one line. */
const plain = (markdown: string) =>
  markdown
    .replace(/\\(?=[*_<])/g, '')
    .replace(/\s+/g, ' ')
    .trim()

interface Entry {
  kind: string
  says: string
  remedy: string
  done: string
  todo: string
}

function entries(): Map<string, Entry> {
  const [, ...sections] = readFileSync('docs/errors.md', 'utf8').split(/^## /m)
  return new Map(sections.map((section) => read(section)))
}

function read(section: string): [string, Entry] {
  const code = section.slice(0, section.indexOf('\n')).trim()
  const part = (name: string) =>
    plain(new RegExp(`\\*\\*${name}\\.\\*\\* (?<text>[^]*?)(?=\\n\\n|$)`).exec(section)?.groups?.['text'] ?? '')
  const head = /`(?<kind>\w+)`: (?<says>[^]*?)\n\n/.exec(section)?.groups
  return [
    code,
    {
      kind: head?.['kind'] ?? '',
      says: plain(head?.['says'] ?? ''),
      remedy: part('Remedy'),
      done: part('Already done'),
      todo: part('You'),
    },
  ]
}

const documented = entries()

test('docs/errors.md has a heading for every code and no other', () => {
  expect([...documented.keys()].sort()).toEqual(Object.keys(failures).sort())
})

describe.each(Object.keys(failures) as FailureCode[])('%s', (code) => {
  test('is documented with the kind, the sentence and the remedy of the table', () => {
    const { kind, says, remedy } = failures[code]
    expect(documented.get(code)).toMatchObject({ kind, says: plain(says), remedy: plain(remedy) })
  })

  test('says what was already done and what is left to do', () => {
    expect(documented.get(code)?.done.length).toBeGreaterThan(20)
    expect(documented.get(code)?.todo.length).toBeGreaterThan(20)
  })
})

test('a remedy names no setting that does not exist', () => {
  const named = Object.values(failures).flatMap(({ remedy }) => remedy.match(/RBDSNAP_\w+/g) ?? [])
  for (const name of named) expect(settingNames).toContain(name)
})
