import { startFauxqs } from 'fauxqs'
import { mostReceives, visibilityMs } from '../../shared/drive.ts'
import { besides, pipeline, type QueueStep } from '../../shared/pipeline.ts'
import { makeQueuesFair } from './fair-queue.ts'

/**
 * The embedded SQS engine: fauxqs with its data in a folder, one standard queue per step and a dead-letter queue for each.
 * fauxqs calls itself a development tool; a production site uses SQS (docs/operate.md).
 */
export const queueSteps = [...Object.keys(besides), ...Object.keys(pipeline)] as QueueStep[]

const accountId = '000000000000'
export function queuePrefix(endpoint: string): string {
  return `${endpoint}/${accountId}/rbdsnap-`
}

async function main(): Promise<void> {
  const port = Number(process.env['RBDSNAP_EMBEDDED_QUEUE_PORT'])
  const dataDir = process.env['RBDSNAP_EMBEDDED_QUEUE_DIR']
  if (!port || !dataDir) throw new Error('RBDSNAP_EMBEDDED_QUEUE_PORT and RBDSNAP_EMBEDDED_QUEUE_DIR are not set')
  makeQueuesFair()
  const server = await startFauxqs({ port, host: '127.0.0.1', dataDir, logger: false })
  for (const step of queueSteps) {
    const name = `rbdsnap-${step}`
    const dead = `${name}-dead`
    if (!server.inspectQueue(dead)) server.createQueue(dead)
    const redrive = { deadLetterTargetArn: `arn:aws:sqs:us-east-1:${accountId}:${dead}`, maxReceiveCount: mostReceives }
    const attributes = {
      VisibilityTimeout: String(Math.ceil(visibilityMs(step) / 1000)),
      RedrivePolicy: JSON.stringify(redrive),
    }
    if (!server.inspectQueue(name)) server.createQueue(name, { attributes })
  }
  process.stdout.write('queue ready\n')
}

if (import.meta.main) await main()
