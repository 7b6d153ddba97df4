import { GetQueueAttributesCommand, SQSClient } from '@aws-sdk/client-sqs'
import { networkCode } from '../../shared/adapters/http.ts'
import { visibilityMs } from '../../shared/drive.ts'
import { besides, pipeline, type QueueStep } from '../../shared/pipeline.ts'
import type { Site } from './site.ts'
import { about, fail, ok, type Verdict, warn } from './verdict.ts'

const steps = [...Object.keys(besides), ...Object.keys(pipeline)] as QueueStep[]
const deploy = 'Deploy serverless.yml, which makes every queue as it has to be.'

interface Seen {
  step: QueueStep
  wrong: string | null
  isMissing: boolean
  waiting: number
}

/** All of them, and each as the driver expects it: hidden long enough, with somewhere to put what nobody could read. */
export async function queues(site: Site, signal: AbortSignal): Promise<Verdict[]> {
  if (site.isForUp) return [ok('RBDSNAP_QUEUE_PREFIX is not set: `rbdsnap up` starts queues of its own')]
  const prefix = site.given('RBDSNAP_QUEUE_PREFIX')
  const client = clientOf(site.env)
  try {
    const seen = await Promise.all(steps.map((step) => look(client, prefix, step, signal)))
    const missing = seen.filter((queue) => queue.isMissing)
    if (missing.length === steps.length) return [fail(`${prefix}*: ${missing[0]?.wrong ?? ''}`, deploy)]
    const wrong = seen.filter((queue) => queue.wrong !== null)
    const waiting = seen.reduce((sum, queue) => sum + queue.waiting, 0)
    if (wrong.length === 0) return [ok(`${steps.length} queues at ${prefix}*, ${waiting} messages in them`)]
    return wrong.map((queue) =>
      about(queue.step, (queue.isMissing ? fail : warn)(`${prefix}${queue.step}: ${queue.wrong ?? ''}`, deploy)),
    )
  } finally {
    client.destroy()
  }
}

async function look(client: SQSClient, prefix: string, step: QueueStep, signal: AbortSignal): Promise<Seen> {
  try {
    const command = new GetQueueAttributesCommand({ QueueUrl: prefix + step, AttributeNames: ['All'] })
    const { Attributes: has = {} } = await client.send(command, { abortSignal: signal })
    const neededS = visibilityMs(step) / 1000
    const hiddenS = Number(has.VisibilityTimeout ?? 0)
    const waiting = Number(has.ApproximateNumberOfMessages ?? 0)
    const wrong = [
      ...(hiddenS < neededS ? [`hides a message ${hiddenS} s, the step needs ${neededS}`] : []),
      ...(has.RedrivePolicy === undefined ? ['has no dead-letter queue'] : []),
    ]
    return { step, wrong: wrong.join(', ') || null, isMissing: false, waiting }
  } catch (error) {
    const { name, message } = error as Error
    return { step, wrong: `${name}: ${message || (networkCode(error) ?? '')}`, isMissing: true, waiting: 0 }
  }
}

/** As the functions have it from their environment; that of an embedded stack is not this process's own. */
function clientOf(env: Site['env']): SQSClient {
  const { AWS_ENDPOINT_URL_SQS: endpoint, AWS_REGION: region } = env
  const {
    AWS_ACCESS_KEY_ID: accessKeyId,
    AWS_SECRET_ACCESS_KEY: secretAccessKey,
    AWS_SESSION_TOKEN: sessionToken,
  } = env
  return new SQSClient({
    maxAttempts: 1,
    ...(endpoint ? { endpoint } : {}),
    ...(region ? { region } : {}),
    ...(accessKeyId && secretAccessKey
      ? { credentials: { accessKeyId, secretAccessKey, ...(sessionToken ? { sessionToken } : {}) } }
      : {}),
  })
}
