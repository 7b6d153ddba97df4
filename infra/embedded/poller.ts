import {
  ChangeMessageVisibilityCommand,
  DeleteMessageCommand,
  ReceiveMessageCommand,
  type Message as SqsMessage,
  type SQSClient,
} from '@aws-sdk/client-sqs'
import { Agent, request } from 'node:http'
import { connect } from 'node:net'
import { claimMs, visibilityMs } from '../../shared/drive.ts'
import { groupOfBody } from '../../shared/fair.ts'
import { besides, cephAtOnce, endsFreeze, pipeline, type QueueStep } from '../../shared/pipeline.ts'
import { placesOf, type Places } from './places.ts'

/**
 * From the queues to the functions, as AWS's event source mapping does it: one message an invocation, at most `parallel` of
 * them at once, deleted only when the function says that it is done.
 *
 * - serverless-offline answers 200 with `errorMessage` when a function threw or timed out: that is a failure.
 * - A connection that breaks means that the functions' process died: its messages are shown again as soon as their claims are
 *   over, and nothing is received until the port answers again.
 * - A long poll is never aborted: fauxqs 2.4 would hide the message that it was about to give for the whole visibility timeout.
 * - A message whose function is still at work, or waits for a place, is hidden for longer, again and again.
 * - The steps of runs share `cephAtOnce` places, because they all talk to Ceph's manager: where a guest stands still first, then
 *   the projects in turn.
 */
export interface PollerOptions {
  sqs: SQSClient
  queuePrefix: string
  /** serverless-offline's Lambda port */
  lambdaPort: number
  functionName: (step: QueueStep) => string
  steps: QueueStep[]
}

const pollS = 2
const heartbeatMs = 5_000
/** For steps that may take minutes: what a heartbeat keeps up, so that a crash is noticed soon. */
const longestHideS = 30

export function startPoller(options: PollerOptions): { stop: () => Promise<void> } {
  const agent = new Agent({ keepAlive: true, maxSockets: 64 })
  const state = { isStopped: false }
  const door = gate(options.lambdaPort, state)
  const places = placesOf(cephAtOnce)
  const loops = options.steps.map((step) => poll(step, options, agent, door, places, state))
  return {
    async stop() {
      state.isStopped = true
      await Promise.all(loops)
      agent.destroy()
    },
  }
}

async function poll(
  step: QueueStep,
  options: PollerOptions,
  agent: Agent,
  door: Gate,
  places: Places,
  state: { isStopped: boolean },
): Promise<void> {
  const queueUrl = options.queuePrefix + step
  const parallel = (step in pipeline ? pipeline[step as keyof typeof pipeline] : besides[step as keyof typeof besides])
    .parallel
  const hideS = Math.min(longestHideS, Math.ceil(visibilityMs(step) / 1000))
  const inFlight = new Set<Promise<void>>()
  while (!state.isStopped) {
    if (inFlight.size >= parallel) await Promise.race(inFlight)
    await door.open()
    if (state.isStopped) break
    for (const message of await receive(options.sqs, queueUrl, parallel - inFlight.size, hideS)) {
      const work = deliver(message, step, queueUrl, hideS, options, agent, door, places).finally(() =>
        inFlight.delete(work),
      )
      inFlight.add(work)
    }
  }
  await Promise.all(inFlight)
}

async function receive(sqs: SQSClient, queueUrl: string, free: number, hideS: number): Promise<SqsMessage[]> {
  try {
    const answer = await sqs.send(
      new ReceiveMessageCommand({
        QueueUrl: queueUrl,
        MaxNumberOfMessages: Math.min(10, free),
        WaitTimeSeconds: pollS,
        VisibilityTimeout: hideS,
        MessageSystemAttributeNames: ['All'],
        MessageAttributeNames: ['All'],
      }),
    )
    return answer.Messages ?? []
  } catch {
    // The queue is away, perhaps being restarted: its messages are safe in it.
    await pause(300)
    return []
  }
}

async function deliver(
  message: SqsMessage,
  step: QueueStep,
  queueUrl: string,
  hideS: number,
  options: PollerOptions,
  agent: Agent,
  door: Gate,
  places: Places,
): Promise<void> {
  const handle = { QueueUrl: queueUrl, ReceiptHandle: message.ReceiptHandle }
  const hide = (seconds: number) =>
    options.sqs
      .send(new ChangeMessageVisibilityCommand({ ...handle, VisibilityTimeout: seconds }))
      .catch(() => undefined)
  const heartbeat = setInterval(() => void hide(hideS), heartbeatMs)
  const group = groupOfBody(message.Body ?? '')
  const leave = step in pipeline ? await places.enter({ group, isUrgent: step === endsFreeze }) : () => undefined
  try {
    const answer = await invoke(
      options.functionName(step),
      eventOf(message, queueUrl),
      options.lambdaPort,
      agent,
    ).finally(leave)
    clearInterval(heartbeat)
    if (isDone(answer, message)) await options.sqs.send(new DeleteMessageCommand(handle)).catch(() => undefined)
    else await hide(Math.ceil(claimMs / 1000) + 1)
  } catch {
    clearInterval(heartbeat)
    door.close()
    await hide(Math.ceil(claimMs / 1000) + 1)
  }
}

function isDone(answer: unknown, message: SqsMessage): boolean {
  if (typeof answer !== 'object' || answer === null || 'errorMessage' in answer) return false
  const failures = (answer as { batchItemFailures?: { itemIdentifier?: string }[] }).batchItemFailures
  return Array.isArray(failures) && !failures.some((f) => f.itemIdentifier === message.MessageId)
}

function eventOf(message: SqsMessage, queueUrl: string): unknown {
  const name = queueUrl.split('/').at(-1) ?? ''
  const record = {
    messageId: message.MessageId,
    receiptHandle: message.ReceiptHandle,
    body: message.Body,
    attributes: message.Attributes ?? {},
    messageAttributes: {},
    md5OfBody: message.MD5OfBody,
    eventSource: 'aws:sqs',
    eventSourceARN: `arn:aws:sqs:us-east-1:000000000000:${name}`,
    awsRegion: 'us-east-1',
  }
  return { Records: [record] }
}

/** node:http and not fetch: undici gives up on an answer after 300 s, a streamed upload takes longer. */
function invoke(name: string, event: unknown, port: number, agent: Agent): Promise<unknown> {
  const body = JSON.stringify(event)
  return new Promise((resolve, reject) => {
    const call = request(
      {
        host: '127.0.0.1',
        port,
        agent,
        method: 'POST',
        path: `/2015-03-31/functions/${name}/invocations`,
        headers: { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) },
      },
      (response) => {
        const chunks: Buffer[] = []
        response.on('data', (chunk: Buffer) => chunks.push(chunk))
        response.on('error', reject)
        response.on('end', () => {
          try {
            resolve(JSON.parse(Buffer.concat(chunks).toString('utf8')))
          } catch {
            resolve({ errorMessage: `HTTP ${response.statusCode ?? 0}` })
          }
        })
      },
    )
    call.on('error', reject)
    call.end(body)
  })
}

interface Gate {
  open: () => Promise<void>
  close: () => void
}

/** Closed while the functions' port does not answer. */
function gate(port: number, state: { isStopped: boolean }): Gate {
  let waiting: Promise<void> | null = null
  const untilUp = async () => {
    while (!state.isStopped && !(await answers(port))) await pause(150)
    waiting = null
  }
  const close = () => void (waiting ??= untilUp())
  close()
  return { open: () => waiting ?? Promise.resolve(), close }
}

function answers(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host: '127.0.0.1', port })
    const done = (isUp: boolean) => {
      socket.destroy()
      resolve(isUp)
    }
    socket.once('connect', () => done(true))
    socket.once('error', () => done(false))
    socket.setTimeout(1_000, () => done(false))
  })
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms))
}
