import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { sqlite } from '../../shared/adapters/sqlite.ts'

let folder = ''
const path = () => join(folder, 'journal.sqlite')
beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'rbdsnap-cli-'))
  const { journal, close } = sqlite(path())
  for (const [id, atMs] of [
    ['notification/first', 1_000],
    ['notification/second', 2_000],
  ] as const)
    await journal.park({ id, atMs, code: 'NOVA_REFUSED', words: '403', body: `{"of":"${id}"}` })
  close()
})
afterEach(() => rmSync(folder, { recursive: true }))

describe('rbdsnap parked', () => {
  it('lists what is parked, newest first, shows what is kept of one, and lets it go', { timeout: 60_000 }, () => {
    const list = () => rbdsnap('parked', 'list', '-f', 'json').stdout
    expect(JSON.parse(list())).toMatchObject([{ id: 'notification/second' }, { id: 'notification/first' }])
    const shown = JSON.parse(rbdsnap('parked', 'show', 'notification/first', '-f', 'json').stdout) as unknown
    expect(shown).toEqual({
      id: 'notification/first',
      at: '1970-01-01T00:00:01.000Z',
      code: 'NOVA_REFUSED',
      words: '403',
      body: '{"of":"notification/first"}',
    })
    expect(rbdsnap('parked', 'drop', 'notification/first')).toMatchObject({ status: 0, stdout: '' })
    expect(JSON.parse(list())).toMatchObject([{ id: 'notification/second' }])
    const again = rbdsnap('parked', 'drop', 'notification/first')
    expect(again.status).toBe(2)
    expect(again.stderr).toContain('nothing is parked as notification/first')
  })

  it('says how it is asked', { timeout: 60_000 }, () => {
    for (const args of [[], ['drop'], ['eat', 'x']]) expect(rbdsnap('parked', ...args).status).toBe(2)
  })
})

function rbdsnap(...args: string[]): { status: number | null; stdout: string; stderr: string } {
  const program = resolve(import.meta.dirname, '../../infra/cli/rbdsnap.ts')
  const env = { PATH: process.env['PATH'] ?? '', RBDSNAP_JOURNAL: `sqlite:${path()}` }
  return spawnSync(process.execPath, [program, ...args], { encoding: 'utf8', env })
}
