import { DeleteMessageCommand, ReceiveMessageCommand, SQSClient } from '@aws-sdk/client-sqs'
import { startFauxqs } from 'fauxqs'
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Cloud, startCloud } from '../../../infra/cloud/main.ts'
import type { DiskKind } from '../../../infra/cloud/servers.ts'
import { projects, users } from '../../../infra/cloud/world.ts'
import { queuePrefix, queueSteps } from '../../../infra/embedded/queue.ts'
import { ordinaryPatience } from '../../../shared/adapters/rbd-volumes.ts'
import { compose, systemClock } from '../../../shared/compose.ts'
import { readConfig } from '../../../shared/config.ts'
import { imageOf, tagRun } from '../../../shared/names.ts'
import type { QueueStep } from '../../../shared/pipeline.ts'
import { requestTag } from '../../../shared/rules.ts'
import type { Message } from '../../../shared/run.ts'
import type { Ports, Settings } from '../../../shared/step.ts'
import { takeover } from '../../contract/embedded-cloud.ts'
import { type Engine, pause, startEngine } from './engines.ts'
import { holder, type Holder } from './holder.ts'

/** One wish of one server, by the names that it will have. */
export interface Ids {
  instance: string
  run: string
  image: string
}

/** Where the engine that will be paused is held up. */
export interface Trap {
  ids: Ids
  step: QueueStep
  rung?: 'clear' | 'copy' | 'upload'
  /** arms what holds it, a moment before it gets the message */
  arm: () => void
  /** the message that it is to get, and the one that it has */
  body?: string | undefined
  has?: string
}

export interface Stage {
  cloud: Cloud
  ports: Ports
  settings: Settings
  /** the engine that sleeps, and the one that goes on */
  a: Engine
  b: Engine
  /** every request that came to the cloud, as `glance PATCH /v2/images/ID` */
  heard: string[]
  /** between the first engine and the queue; and its guests, by instance */
  queue: Holder
  guests: Map<string, Holder>
  addServer: (disk: DiskKind, more?: { agent?: 'on' | 'none'; tags?: string[] }) => Promise<Ids>
  held: () => number
  release: () => void
  /** sends it to the first engine until it is held up there, and to the second one from then on */
  traps: Trap[]
  /** as the queue does when the message's time is over */
  again: (trap: Trap) => Promise<void>
  isIdle: () => boolean
  /** nobody has asked the cloud for anything for longer than an adapter waits between two looks (ordinaryPatience) */
  isStill: () => boolean
  /** Nobody is held up and the sleeper is awake, also after a case that failed: the next one begins anew. */
  reset: () => void
  close: () => Promise<void>
}

const tenant = { project: projects.tenant, user: users.tenant }
/** a part of a GiB: an upload of it takes a moment */
const sizeGib = 1 / 16

/** A cloud, a journal, a queue, and two engines over them, each a process. Whoever is sent a message is chosen here. */
export async function openStage(): Promise<Stage> {
  // short: a guest's socket is in it, and sockaddr_un has 108 bytes
  const dataDir = mkdtempSync(join(tmpdir(), 'rbdsnap-'))
  mkdirSync(join(dataDir, 'held'))
  const cloud = await startCloud({ dataDir, paxosProposeIntervalMs: 20, heldMs: 100, ...takeover })
  const heard: string[] = []
  let lastHeardMs = 0
  const take = cloud.faults.take
  cloud.faults.take = (service, method, path) => {
    heard.push(`${service} ${method} ${path}`)
    lastHeardMs = Date.now()
    return take(service, method, path)
  }

  const sqs = await startFauxqs({ port: 0, host: '127.0.0.1', dataDir: join(dataDir, 'queue'), logger: false })
  for (const step of queueSteps) sqs.createQueue(`rbdsnap-${step}`, { attributes: { VisibilityTimeout: '600' } })
  const endpoint = `http://127.0.0.1:${String(sqs.port)}`
  const queue = await holder(0, sqs.port)
  const env: Record<string, string> = {
    ...cloud.env,
    AWS_ENDPOINT_URL_SQS: endpoint,
    AWS_REGION: 'us-east-1',
    AWS_ACCESS_KEY_ID: 'embedded',
    AWS_SECRET_ACCESS_KEY: 'embedded',
    RBDSNAP_QUEUE_PREFIX: queuePrefix(endpoint),
    RBDSNAP_JOURNAL: `sqlite:${join(dataDir, 'journal.sqlite')}`,
    // a freeze that lasts until all are where they are to be held up, on a slow machine too
    RBDSNAP_FREEZE_BUDGET_MS: '15000',
  }
  Object.assign(process.env, env)
  const { ports, settings } = compose(readConfig(env), systemClock)
  const a = startEngine({
    ...env,
    RBDSNAP_QUEUE_PREFIX: queuePrefix(`http://127.0.0.1:${String(queue.at)}`),
    AWS_ENDPOINT_URL_SQS: `http://127.0.0.1:${String(queue.at)}`,
    RBDSNAP_GUEST_SOCKET: join(dataDir, 'held', '{instance}.sock'),
  })
  const b = startEngine(env)
  const guests = new Map<string, Holder>()
  const traps: Trap[] = []
  const state = { isClosed: false, atWork: 0 }
  const client = new SQSClient({})

  async function dispatch(step: QueueStep, body: string): Promise<void> {
    const message = JSON.parse(body) as Message
    const rung = 'rung' in message ? message.rung : undefined
    const trap = traps.find(
      (t) => t.step === step && body.includes(t.ids.instance) && (t.rung === undefined || t.rung === rung),
    )
    if (!trap) return untilDone(step, body)
    trap.body = body
    // All of them at once: a request is held up for as long as its client waits for it, and no longer.
    if (traps.every((t) => t.body !== undefined)) for (const each of traps) begin(each)
  }

  function begin(trap: Trap): void {
    if (trap.body === undefined || trap.has === trap.body) return
    if (trap.has === undefined) trap.arm()
    trap.has = trap.body
    void a.deliver(trap.step, trap.body)
  }

  async function untilDone(step: QueueStep, body: string): Promise<void> {
    state.atWork += 1
    while (!state.isClosed && !(await b.deliver(step, body))) await pause(1_000)
    state.atWork -= 1
  }

  async function pump(): Promise<void> {
    while (!state.isClosed) {
      for (const step of queueSteps) {
        const messages = sqs.inspectQueue(`rbdsnap-${step}`)?.messages
        // fauxqs looks whether a delay is over when it is asked for messages
        if (messages && messages.ready.length + messages.delayed.length > 0) await receive(step)
      }
      await pause(100)
    }
  }

  async function receive(step: QueueStep): Promise<void> {
    const QueueUrl = queuePrefix(endpoint) + step
    const { Messages = [] } = await client.send(new ReceiveMessageCommand({ QueueUrl, MaxNumberOfMessages: 10 }))
    for (const { Body = '', ReceiptHandle } of Messages) {
      await client.send(new DeleteMessageCommand({ QueueUrl, ReceiptHandle }))
      void dispatch(step, Body)
    }
  }

  const pumping = pump()
  const holders = () => [queue, ...guests.values()]
  function release(): void {
    cloud.faults.release()
    for (const h of holders()) h.release()
  }
  return {
    cloud,
    ports,
    settings,
    a,
    b,
    heard,
    queue,
    guests,
    traps,
    async addServer(disk, { agent = 'on', tags = [requestTag] } = {}) {
      const { id } = await cloud.factory.addServer({ name: 's', ...tenant, disk, sizeGib, agent, tags })
      const own = join(dataDir, `held/${id}.sock`)
      if (agent === 'on')
        guests.set(id, await holder(own, (cloud.env['RBDSNAP_GUEST_SOCKET'] ?? '').replace('{instance}', id)))
      const run = tagRun(id, requestTag, 1)
      return { instance: id, run, image: imageOf(run, 1) }
    },
    held: () => holders().reduce((sum, h) => sum + h.held(), cloud.faults.held()),
    release,
    again: ({ step, body = '' }) => untilDone(step, body),
    isStill: () => Date.now() - lastHeardMs > 2 * ordinaryPatience.everyMs,
    isIdle: () =>
      state.atWork === 0 &&
      queueSteps.every((step) => {
        const messages = sqs.inspectQueue(`rbdsnap-${step}`)?.messages
        return messages?.ready.length === 0 && messages.delayed.length === 0 && messages.inflight.length === 0
      }),
    reset() {
      traps.splice(0)
      cloud.faults.clear()
      a.wake()
      release()
    },
    async close() {
      state.isClosed = true
      await Promise.all([pumping, a.end(), b.end()])
      client.destroy()
      for (const h of holders()) await h.close()
      await cloud.close()
      await sqs.stop()
      rmSync(dataDir, { recursive: true, force: true })
    },
  }
}
