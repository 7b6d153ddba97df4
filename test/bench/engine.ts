import { DeleteMessageCommand, ReceiveMessageCommand, SendMessageCommand, SQSClient } from '@aws-sdk/client-sqs'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { demoCloud, type DemoCloud } from '../../infra/cli/demo-cloud.ts'
import { openSession, type Session } from '../../infra/cli/session.ts'
import { embeddedParts } from '../../infra/embedded/parts.ts'
import { defaultRules, type Rules } from '../../shared/rules.ts'
import type { RunRecord } from '../../shared/ports/journal.ts'

/** What the machine can do is measured, not how long Ceph's monitor lets it wait. */
const monitorAtTenth: Record<string, string> = { RBDSNAP_CLOUD_PAXOS_PROPOSE_INTERVAL_MS: '100' }

const unlimited = { open: 1_000_000, perHour: 1_000_000 }
const outOfTheWay: Rules['limits'] = { instance: unlimited, project: unlimited }

/** A bench may be one of many things on its machine. */
const readyWithinMs = 600_000

/** The embedded stack, whole, with servers to snapshot; limits out of the way, and Ceph's monitor at 0.1 s instead of 1 s. */
export interface Engine {
  session: Session
  cloud: DemoCloud
  servers: string[]
  close: () => Promise<void>
}

export async function startEngine(
  serverCount: number,
  cloudSettings = monitorAtTenth,
  limits = outOfTheWay,
): Promise<Engine> {
  const folder = mkdtempSync(join(tmpdir(), 'rbdsnap-bench-'))
  const rulesPath = join(folder, 'rules.json')
  writeFileSync(rulesPath, JSON.stringify({ ...defaultRules, limits }))
  process.env['RBDSNAP_DATA_DIR'] = join(folder, 'data')
  const session = await openSession({
    cloud: cloudSettings,
    functions: { RBDSNAP_RULES: rulesPath },
    readyWithinMs,
  })
  const cloud = await demoCloud(session)
  const wish = { disk: 'clone', sizeGib: 1, agent: 'on' }
  const servers: string[] = []
  for (let i = 0; i < serverCount; i++) servers.push(await cloud.addServer({ ...wish, name: `bench-${i}` }))
  return {
    session,
    cloud,
    servers,
    async close() {
      await session.close()
      rmSync(folder, { recursive: true, force: true })
    },
  }
}

/** One wish after the other on one server, until `isOver`; every run as the journal has it at its end. */
export async function wishes(engine: Engine, server: string, isOver: (done: number) => boolean): Promise<RunRecord[]> {
  const ended: RunRecord[] = []
  while (!isOver(ended.length)) {
    await engine.cloud.tag(server, 'snapshot')
    ended.push(await endOf(engine, server, ended.at(-1)?.createdAtMs ?? 0))
  }
  return ended
}

async function endOf({ session }: Engine, server: string, afterMs: number): Promise<RunRecord> {
  const endAtMs = Date.now() + 60_000
  for (;;) {
    const latest = await session.journal.latestOf(server)
    if (latest && latest.createdAtMs > afterMs && latest.outcome !== null) return latest
    if (Date.now() > endAtMs) throw new Error(`the run of ${server} did not end within a minute`)
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
}

/**
 * A hop as one function's end to the next one's start, from the functions' own log: a function sends before it ends, so the
 * next one may start before the last one has answered, and a hop may be less than nothing.
 */
export function hopsOfLog(log: string, runs: RunRecord[]): number[] {
  const wanted = new Set(runs.map((r) => r.wish.run))
  const lines = log.split('\n').flatMap((line): Line[] => (line.startsWith('{"at"') ? [JSON.parse(line) as Line] : []))
  const byHop = new Map(lines.filter((l) => l.run && wanted.has(l.run)).map((l) => [`${l.run ?? ''}/${l.hop ?? 0}`, l]))
  return [...byHop.values()].flatMap((line) => {
    const next = byHop.get(`${line.run ?? ''}/${(line.hop ?? 0) + 1}`)
    return next?.says === 'again later' || !next ? [] : [next.started_ms - (line.started_ms + line.ms)]
  })
}
interface Line {
  run?: string
  hop?: number
  says: string
  started_ms: number
  ms: number
}

/**
 * From the note of one step's outcome to the claim of the next: send, receive, invoke, parse, look up and claim. All that a
 * run pays for being chained.
 */
export function chainsOf(runs: RunRecord[]): number[] {
  return runs.flatMap(({ timeline }) =>
    timeline.slice(1).flatMap((next, i) => {
      const before = timeline[i]
      return before?.endedAtMs == null || next.tries > 1 ? [] : [next.startedAtMs - before.endedAtMs]
    }),
  )
}

/** Receive, send, delete and nothing else, on the same queue engine: what a hop cannot be quicker than. */
export async function bareLoop(session: Session, count: number): Promise<number[]> {
  const client = new SQSClient({
    endpoint: session.env['AWS_ENDPOINT_URL_SQS'] ?? '',
    region: 'us-east-1',
    credentials: { accessKeyId: 'embedded', secretAccessKey: 'embedded' },
  })
  // The dead letters of a queue that this run never uses otherwise.
  const QueueUrl = `${session.env['RBDSNAP_QUEUE_PREFIX'] ?? ''}sweep-dead`
  const body = 'x'.repeat(1024)
  const took: number[] = []
  await client.send(new SendMessageCommand({ QueueUrl, MessageBody: body }))
  for (let i = 0; i < count; i++) {
    const startedAt = performance.now()
    const answer = await client.send(new ReceiveMessageCommand({ QueueUrl, WaitTimeSeconds: 1 }))
    const ReceiptHandle = answer.Messages?.[0]?.ReceiptHandle
    await client.send(new SendMessageCommand({ QueueUrl, MessageBody: body }))
    await client.send(new DeleteMessageCommand({ QueueUrl, ReceiptHandle }))
    took.push(performance.now() - startedAt)
  }
  client.destroy()
  return took
}

/** Resident memory of the stack's processes, in MiB (Linux). */
export function memoryMib(session: Session): Record<string, number> {
  return Object.fromEntries(
    embeddedParts.map((part) => {
      const status = readFileSync(`/proc/${session.own?.pid(part) ?? 0}/status`, 'utf8')
      const kib = Number(/VmRSS:\s+(\d+)/.exec(status)?.[1] ?? 0)
      return [part, Math.round(kib / 1024)]
    }),
  )
}
