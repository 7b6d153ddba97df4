import type { Context, SQSEvent, SQSRecord } from 'aws-lambda'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { status } from '../../../functions/status.ts'
import { hear } from '../../../shared/notification.ts'
import { lambda, lambdaIngest, lambdaStatus, lambdaSweep, lambdaThaw } from '../../../shared/lambda.ts'
import { messageVersion, type MessageOf } from '../../../shared/run.ts'
import { consistency, disk, tagWish } from '../../unit/given.ts'
import { holds, type Target } from '../target.ts'

/**
 * A message in a queue, delivered to the functions, and the same text as what somebody asks the status function: it is done, parked
 * or left in the queue with a code, and the log gets lines of JSON.
 *
 * @param before hears of each message first
 */
export function messageTarget(before: (body: string) => void = () => undefined): Target {
  Object.assign(process.env, environment)
  const handlers = [
    lambda('clone', () => Promise.reject(new Error('no run was expected'))),
    lambdaIngest(() => Promise.resolve({ begun: [], woken: [] })),
    lambdaThaw(() => Promise.resolve(null)),
    lambdaSweep(() => Promise.resolve({})),
  ]
  // what API Gateway hands on is not looked at: no words of it may make a difference
  const ask = lambdaStatus(status) as (asked: unknown) => ReturnType<ReturnType<typeof lambdaStatus>>
  return {
    name: 'message',
    covers: ['shared/lambda.ts', 'shared/drive.ts', 'shared/run.ts', 'shared/blacken.ts', 'shared/status.ts'],
    seeds,
    async feed(input) {
      const { logged } = await listening(async () => {
        before(input)
        const event: SQSEvent = { Records: [{ messageId: 'm', body: input } as SQSRecord] }
        for (const handler of handlers) await handler(event, context)
        const { statusCode } = await ask(parsedOr(input))
        holds(statusCode === 200, `status answered ${statusCode}`)
      })
      for (const line of logged) holds(isOneLine(line), `the log got ${JSON.stringify(line.slice(0, 200))}`)
      const said = logged.map((line) => JSON.parse(line) as { says: string; code?: string; words?: string })
      const bug = said.find(({ code }) => code === 'UNKNOWN')
      holds(bug === undefined, `a bug: ${bug?.words}`)
      return said.map(({ says, code = '', words = '' }) => `${says} ${code} ${words.slice(0, 60)}`).join(' / ')
    },
  }
}

const context = { getRemainingTimeInMillis: () => 10_000 } as Context

/** One where nothing needs to answer. */
const environment = {
  OS_AUTH_URL: 'http://127.0.0.1:1/v3',
  OS_USERNAME: 'rbdsnap',
  OS_PASSWORD: 'no password',
  OS_PROJECT_NAME: 'service',
  AWS_REGION: 'none',
  RBDSNAP_CEPH_URLS: 'http://127.0.0.1:1',
  RBDSNAP_CEPH_FSID: 'c1aefb3a-6f4b-4bb3-9f1a-5e6f7a8b9c0d',
  RBDSNAP_CEPH_USER: 'rbdsnap',
  RBDSNAP_CEPH_PASSWORD: 'no password',
  RBDSNAP_JOURNAL: 'sqlite::memory:',
  RBDSNAP_GUEST: 'socket',
  RBDSNAP_QUEUE_PREFIX: 'http://127.0.0.1:1/0/rbdsnap-',
}

async function listening(act: () => Promise<void>): Promise<{ logged: string[] }> {
  const logged: string[] = []
  const write = process.stdout.write.bind(process.stdout)
  process.stdout.write = (line) => logged.push(String(line)) > 0
  try {
    await act()
  } finally {
    process.stdout.write = write
  }
  return { logged }
}

function isOneLine(line: string): boolean {
  return line.endsWith('\n') && !/[\r\n\u2028\u2029]/.test(line.slice(0, -1)) && parsedOr(line) !== line
}

function parsedOr(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return text
  }
}

function seeds(): string[] {
  const clone: MessageOf<'clone'> = {
    v: messageVersion,
    step: 'clone',
    hop: 3,
    tries: 0,
    sinceMs: 1,
    wish: tagWish,
    disk,
    consistency,
    why: ['x'],
  }
  const event = join(import.meta.dirname, '../../../events/11-instance.snapshot.start.versioned.json')
  const { body } = JSON.parse(readFileSync(event, 'utf8')) as { body: unknown }
  const ingest = { v: messageVersion, step: 'ingest', tries: 0, heard: hear(body) }
  const tagged = { ...ingest, heard: { is: 'tagged', instance: tagWish.instance, project: 'p', tag: 'snapshot' } }
  const unreadable = { ...ingest, heard: hear('{"a') }
  const thaw = { v: messageVersion, step: 'thaw', instance: tagWish.instance, epoch: 7 }
  return [clone, ingest, tagged, unreadable, thaw, { v: messageVersion, step: 'sweep' }].map((m) => JSON.stringify(m))
}
