import { SQSClient } from '@aws-sdk/client-sqs'
import { sqs } from '../../shared/adapters/sqs.ts'
import { startBridge } from './bridge.ts'
import { startPoller } from './poller.ts'
import { queueSteps } from './queue.ts'

/** One process of the stack: from the queues to the functions and, where the cloud is the embedded one, from its bus to the first queue. */
const { env } = process
const queuePrefix = must('RBDSNAP_QUEUE_PREFIX')
const client = new SQSClient({})
const poller = startPoller({
  sqs: client,
  queuePrefix,
  lambdaPort: Number(must('RBDSNAP_OFFLINE_LAMBDA_PORT')),
  functionName: (step) => `rbdsnap-dev-${step}`,
  steps: queueSteps,
})
const controlUrl = env['RBDSNAP_CLOUD_CONTROL_URL']
const bridge = controlUrl ? startBridge({ controlUrl, queue: sqs(client, queuePrefix) }) : null
process.stdout.write('feeder ready\n')

process.once('SIGTERM', () => {
  void Promise.all([poller.stop(), bridge?.stop()]).then(() => process.exit(0))
})

function must(name: string): string {
  const value = env[name]
  if (!value) throw new Error(`${name} is not set`)
  return value
}
