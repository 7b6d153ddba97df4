import type { Context, SQSEvent, SQSRecord } from 'aws-lambda'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, it, vi } from 'vitest'
import { sqlite } from '../../shared/adapters/sqlite.ts'
import { Failure } from '../../shared/failures.ts'
import { lambda } from '../../shared/lambda.ts'
import { due, tagWish } from './given.ts'
import { record } from './given-record.ts'

/** From a delivery to what is parked and logged. The environment is one where nothing needs to answer. */
const folder = mkdtempSync(join(tmpdir(), 'rbdsnap-lambda-'))
const path = join(folder, 'journal.sqlite')
const logged: string[] = []

beforeAll(() => {
  Object.assign(process.env, {
    OS_AUTH_URL: 'http://127.0.0.1:1/v3',
    OS_USERNAME: 'rbdsnap',
    OS_PASSWORD: 'lab',
    OS_PROJECT_NAME: 'service',
    AWS_REGION: 'none',
    RBDSNAP_CEPH_URLS: 'http://127.0.0.1:1',
    RBDSNAP_CEPH_FSID: 'c1aefb3a-6f4b-4bb3-9f1a-5e6f7a8b9c0d',
    RBDSNAP_CEPH_USER: 'rbdsnap',
    RBDSNAP_CEPH_PASSWORD: 'lab',
    RBDSNAP_JOURNAL: `sqlite:${path}`,
    RBDSNAP_GUEST: 'socket',
    RBDSNAP_QUEUE_PREFIX: 'http://127.0.0.1:1/0/rbdsnap-',
  })
  vi.spyOn(process.stdout, 'write').mockImplementation((line) => logged.push(String(line)) > 0)
})
afterAll(() => {
  vi.restoreAllMocks()
  rmSync(folder, { recursive: true })
})

async function parkedOf(messageId: string, body: string) {
  const handler = lambda('clone', () => Promise.reject(new Error('no step was expected')))
  const event: SQSEvent = { Records: [{ messageId, body } as SQSRecord] }
  const context = { getRemainingTimeInMillis: () => 10_000 } as Context
  expect(await handler(event, context), logged.at(-1)).toEqual({ batchItemFailures: [] })
  const { journal, close } = sqlite(path)
  try {
    return (await journal.listParked(100)).find((parked) => parked.id === messageId)
  } finally {
    close()
  }
}

it('parks a body that is not JSON without a word of it in the reason or the log', async () => {
  const parked = await parkedOf('m-1', '{"password": hunter2secret}')
  expect(parked).toMatchObject({ code: 'BAD_MESSAGE', words: 'not JSON' })
  expect(JSON.stringify([parked, logged])).not.toContain('hunter2')
})

it('keeps at most 64 KiB of it, cut between two characters', async () => {
  const body = `${'x'.repeat(64 * 1024 - 1)}${'ß'.repeat(1_000)}`
  expect((await parkedOf('m-2', body))?.body).toBe('x'.repeat(64 * 1024 - 1))
  const secret = `${'x'.repeat(64 * 1024 - 20)}{"password": "hunter2secret"}`
  expect((await parkedOf('m-3', secret))?.body).not.toContain('hunter2')
})

/** A run whose undoing fails for good: nothing is sent, so no queue is needed. */
async function loggedOf(run: string, failsWith: unknown): Promise<unknown> {
  const wish = { ...tagWish, run }
  const message = due<'unwind'>({
    step: 'unwind',
    wish,
    disk: null,
    consistency: null,
    why: [],
    undos: [],
    because: { code: 'CEPH_REFUSED', words: 'no', at: 'clone' },
  })
  const { journal, close } = sqlite(path)
  await journal.reserve(record({ wish, hop: message.hop, message }))
  close()
  const event: SQSEvent = { Records: [{ messageId: run, body: JSON.stringify(message) } as SQSRecord] }
  const context = { getRemainingTimeInMillis: () => 10_000 } as Context
  const handler = lambda('unwind', () => Promise.reject(failsWith as Error))
  expect(await handler(event, context), logged.at(-1)).toEqual({ batchItemFailures: [] })
  return JSON.parse(logged.at(-1) ?? 'null')
}

it('says in the log what a step failed with, and of a bug of ours where it happened', async () => {
  const words = 'pool images: 403, the role is too small'
  const run = '5d1f7a86-57a4-5d1b-8f0c-0d6c1c0a7a01'
  expect(await loggedOf(run, new Failure('CEPH_REFUSED', words))).toMatchObject({
    step: 'unwind',
    run,
    says: 'parked',
    code: 'CEPH_REFUSED',
    words,
  })
  const bug = new TypeError('a bug')
  const { stack } = bug
  expect(await loggedOf('5d1f7a86-57a4-5d1b-8f0c-0d6c1c0a7a02', bug)).toMatchObject({ code: 'UNKNOWN', words: stack })
})
