import middy from '@middy/core'
import type {
  APIGatewayProxyStructuredResultV2,
  Context as LambdaContext,
  SQSBatchResponse,
  SQSEvent,
  SQSRecord,
} from 'aws-lambda'
import { randomUUID } from 'node:crypto'
import { blacken } from './blacken.ts'
import { compose, systemClock } from './compose.ts'
import { readConfig } from './config.ts'
import { drive, type DriveContext } from './drive.ts'
import { driveIngest, type IngestStep } from './drive-ingest.ts'
import { Failure, failures } from './failures.ts'
import { message as messageSchema, type Message, type MessageOf, type RunStep } from './run.ts'
import type { Context, Ports, Settings, Step } from './step.ts'
import * as z from 'zod/mini'

/**
 * From a step to a Lambda function: the only file that knows middy, SQS events and the environment. A batch answers with the
 * records that failed (ReportBatchItemFailures); those stay in the queue. One line of JSON a delivery goes to the log.
 */
type Handler = (event: SQSEvent, context: LambdaContext) => Promise<SQSBatchResponse>

/** Taken off the function's remaining time, so that a step that ran out of it can still note that and answer. */
const settleMs = 2_000
/** middy answers for a handler that does not even manage that. */
const earlyMs = 300

export function lambda<S extends RunStep>(name: S, step: Step<S>): Handler {
  return worker(name, async (message, ports, ctx) => {
    const delivery = await drive(message, step, ports, ctx)
    return { ...delivery, isDone: delivery.is === 'acknowledged', says: delivery.because }
  })
}

export function lambdaIngest(step: IngestStep): Handler {
  return worker('ingest', async (message, ports, ctx) => ({
    ...(await driveIngest(message, step, ports, ctx)),
    isDone: true,
  }))
}

export function lambdaThaw(
  step: (message: MessageOf<'thaw'>, ports: Ports, ctx: Context) => Promise<{ againInMs: number } | null>,
): Handler {
  return worker('thaw', async (message, ports, ctx) => {
    const again = await step(message, ports, ctx)
    if (again) await ports.queue.send(message, again.againInMs)
    return { isDone: true, says: again ? 'again later' : 'thawed' }
  })
}

export function lambdaSweep(step: (ports: Ports, ctx: Context) => Promise<Record<string, number>>): Handler {
  return worker('sweep', async (_message, ports, ctx) => ({
    isDone: true,
    says: JSON.stringify(await step(ports, ctx)),
  }))
}

/** An HTTP function that only reads. */
export function lambdaStatus(
  read: (ports: Ports, settings: Settings, nowMs: number) => Promise<{ health: string }>,
): () => Promise<APIGatewayProxyStructuredResultV2> {
  return middy<unknown, APIGatewayProxyStructuredResultV2>({}).handler(async () => {
    const headers = { 'content-type': 'application/json', 'cache-control': 'no-store' }
    try {
      const { ports, settings } = theWorld()
      return { statusCode: 200, headers, body: JSON.stringify(await read(ports, settings, systemClock.nowMs())) }
    } catch (error) {
      log({ step: 'status', says: 'failed', ...sayError(error) })
      const code = error instanceof Failure ? error.code : 'UNKNOWN'
      return {
        statusCode: 503,
        headers,
        body: JSON.stringify({ health: 'HEALTH_ERR', code, says: failures[code].says }),
      }
    }
  }) as unknown as () => Promise<APIGatewayProxyStructuredResultV2>
}

type World = ReturnType<typeof compose>
let world: World | undefined
/** Once per process, at the first call: a missing setting is said in the answer, not in a crash at load. */
function theWorld(): World {
  world ??= compose(readConfig(process.env), systemClock)
  return world
}

/** What the log says of a delivery, and whether the queue is rid of it. */
interface Delivered {
  isDone: boolean
  says: string
  failure?: Failure
}

function worker<S extends Message['step']>(
  name: S,
  deliver: (message: MessageOf<S>, ports: Ports, ctx: DriveContext) => Promise<Delivered>,
): Handler {
  async function one(record: SQSRecord, lambdaContext: LambdaContext): Promise<boolean> {
    const startedAtMs = preciseNowMs()
    const { ports, settings } = theWorld()
    const parsed = parse(record.body, name)
    if ('wrong' in parsed) {
      await ports.journal.park({
        id: record.messageId,
        atMs: systemClock.nowMs(),
        code: 'BAD_MESSAGE',
        words: parsed.wrong,
        body: kept(record.body),
      })
      log({ step: name, says: 'parked', code: 'BAD_MESSAGE', words: parsed.wrong })
      return true
    }
    const ctx: DriveContext = {
      clock: systemClock,
      signal: AbortSignal.timeout(Math.max(1, lambdaContext.getRemainingTimeInMillis() - settleMs)),
      settings,
      token: randomUUID(),
      jitter: Math.random(),
      keepAlive,
    }
    const { isDone, says, failure } = await deliver(parsed.message, ports, ctx)
    const why = failure ? sayError(failure) : {}
    const tookMs = preciseNowMs() - startedAtMs
    log({ step: name, ...idsOf(parsed.message), says, ...why, started_ms: startedAtMs, ms: tookMs })
    return isDone
  }

  async function handle(event: SQSEvent, context: LambdaContext): Promise<SQSBatchResponse> {
    const results = await Promise.all(
      event.Records.map(async (record) => {
        try {
          return { record, isDone: await one(record, context) }
        } catch (error) {
          log({ step: name, says: 'left in the queue', ...sayError(error) })
          return { record, isDone: false }
        }
      }),
    )
    return { batchItemFailures: results.filter((r) => !r.isDone).map((r) => ({ itemIdentifier: r.record.messageId })) }
  }

  return middy<SQSEvent, SQSBatchResponse>({
    timeoutEarlyInMillis: earlyMs,
    timeoutEarlyResponse: () => {
      throw new Failure('TIMEOUT', `The function ${name} did not answer in time.`)
    },
  }).handler(handle)
}

/** Epoch milliseconds with fractions, comparable between processes: a hop takes only a few (test/bench). */
function preciseNowMs(): number {
  return Math.round((performance.timeOrigin + performance.now()) * 100) / 100
}

const keptBytes = 64 * 1024

/** Blackened first: what is left of a secret that is cut in two no longer looks like one. */
function kept(body: string): string {
  const bytes = new TextEncoder().encode(blacken(body))
  // as of a stream, which leaves out the half of a character at its end
  return new TextDecoder().decode(bytes.subarray(0, keptBytes), { stream: true })
}

function parse<S extends Message['step']>(body: string, step: S): { message: MessageOf<S> } | { wrong: string } {
  let json: unknown
  try {
    json = JSON.parse(body)
  } catch {
    // V8 quotes the text around the fault, which may be a secret.
    return { wrong: 'not JSON' }
  }
  const result = z.safeParse(messageSchema, json)
  if (!result.success) {
    const issue = result.error.issues[0]
    return { wrong: `${issue?.path.join('.') || 'message'}: ${issue?.message ?? 'not understood'}` }
  }
  if (result.data.step !== step) return { wrong: `a message for ${result.data.step} in the queue of ${step}` }
  return { message: result.data as MessageOf<S> }
}

function keepAlive(renew: () => Promise<void>, everyMs: number): () => Promise<void> {
  let underWay: Promise<void> = Promise.resolve()
  const timer = setInterval(() => {
    // A renewal that fails costs nothing yet: the next one may succeed before the claim is over.
    underWay = renew().catch(() => undefined)
  }, everyMs)
  return () => {
    clearInterval(timer)
    return underWay
  }
}

function idsOf(message: Message): Record<string, unknown> {
  if ('wish' in message) {
    return {
      run: message.wish.run,
      instance: message.wish.instance,
      image: message.wish.image,
      hop: message.hop,
      tries: message.tries,
    }
  }
  return 'instance' in message ? { instance: message.instance } : {}
}

function sayError(error: unknown): { code: string; words: string } {
  if (error instanceof Failure) {
    const { code, words, cause } = error
    // a bug of ours: the journal has its words, the log says where it happened
    return { code, words: code === 'UNKNOWN' && cause instanceof Error ? (cause.stack ?? words) : words }
  }
  return { code: 'UNKNOWN', words: error instanceof Error ? (error.stack ?? error.message) : String(error) }
}

function log(line: Record<string, unknown>): void {
  process.stdout.write(`${blacken(JSON.stringify({ at: new Date().toISOString(), ...line }))}\n`)
}
