import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { qcow2Reader } from '../../shared/adapters/qcow2-reader.ts'
import { Failure } from '../../shared/failures.ts'

const program = join(import.meta.dirname, '../fakes/qemu-img.mjs')
const snap = { pool: 'vms', image: 'a_disk', snap: 'rbdsnap-1' }
let directory: string
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'rbdsnap-qcow2-'))
})
afterEach(() => {
  expect(readdirSync(directory)).toEqual([])
  rmSync(directory, { recursive: true })
})

function reading(env: Record<string, string> = {}, more: { directory?: string; command?: string[] } = {}) {
  const given = Object.entries({ FAKE_SEEN: directory, ...env }).map(([name, value]) => `${name}=${value}`)
  const command = ['env', ...given, process.execPath, program]
  const reader = qcow2Reader({ command, user: 'glance', confs: { home: '/etc/ceph:x/ceph.conf' }, directory, ...more })
  return new Response(reader.read('home', snap, AbortSignal.timeout(10_000))).text()
}
async function failureOf(work: Promise<unknown>): Promise<Failure> {
  const failure = await work.catch((error: unknown) => error)
  expect(failure).toBeInstanceOf(Failure)
  return failure as Failure
}

test('the file has no name while it is written, and what qemu takes as separators is escaped', async () => {
  expect(await reading({ FAKE_CONTENT: 'QFI ' })).toBe(
    String.raw`QFI 0 rbd:vms/a_disk@rbdsnap-1:id=glance:conf=/etc/ceph\:x/ceph.conf`,
  )
})

test('a file that may not fit is NO_SPACE before it is begun', async () => {
  const { code, words } = await failureOf(reading({ FAKE_REQUIRED: '9000000000000000' }))
  expect(code).toBe('NO_SPACE')
  expect(words).toMatch(/may take 9000000000000000 bytes; .* has \d+ left/)
})

test.each([
  ['qemu-img: error while writing at byte 0: No space left on device', 'NO_SPACE'],
  ["qemu-img: Could not open 'rbd:vms/x': Unknown protocol 'rbd'", 'BAD_SETTING'],
  ['qemu-img: error connecting: Operation not permitted', 'CEPH_REFUSED'],
  ['qemu-img: error reading header', 'CEPH_UNREACHABLE'],
])('%s is %s', async (words, code) => {
  const failure = await failureOf(reading({ FAKE_ERROR: words }))
  expect(failure.code).toBe(code)
  expect(failure.words).toContain(words)
})

test('a folder or a program that is not there is a wrong setting', async () => {
  expect(await failureOf(reading({}, { directory: join(directory, 'none') }))).toMatchObject({ code: 'BAD_SETTING' })
  expect(await failureOf(reading({}, { command: ['no-such-qemu-img'] }))).toMatchObject({ code: 'BAD_SETTING' })
})

test('a reader that turns away ends it', async () => {
  const command = ['env', 'FAKE_CONTENT=QFI', process.execPath, program]
  const reader = qcow2Reader({ command, user: null, confs: { home: '/c' }, directory })
  const bytes = reader.read('home', snap, AbortSignal.timeout(10_000)).getReader()
  await bytes.read()
  await bytes.cancel()
})
