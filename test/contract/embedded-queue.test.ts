import { DeleteMessageCommand, ReceiveMessageCommand, SQSClient } from '@aws-sdk/client-sqs'
import { startFauxqs } from 'fauxqs'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { makeQueuesFair } from '../../infra/embedded/fair-queue.ts'
import { queuePrefix } from '../../infra/embedded/queue.ts'
import { sqs } from '../../shared/adapters/sqs.ts'
import { message as messageSchema } from '../../shared/run.ts'
import { describeQueue } from './queue.contract.ts'

/** The embedded SQS engine as the stack runs it: with its data in a folder. Its clock is the real one. */
const hiddenMs = 2_000

describeQueue('SQS by fauxqs', async () => {
  const dataDir = mkdtempSync(join(tmpdir(), 'rbdsnap-queue-'))
  makeQueuesFair()
  const server = await startFauxqs({ port: 0, host: '127.0.0.1', dataDir, logger: false })
  const attributes = { VisibilityTimeout: String(hiddenMs / 1000) }
  for (const step of ['ingest', 'thaw', 'sweep']) server.createQueue(`rbdsnap-${step}`, { attributes })
  const endpoint = `http://127.0.0.1:${String(server.port)}`
  const client = new SQSClient({
    endpoint,
    region: 'us-east-1',
    credentials: { accessKeyId: 'embedded', secretAccessKey: 'embedded' },
  })
  const prefix = queuePrefix(endpoint)
  return {
    queue: sqs(client, prefix),
    hiddenMs,
    async receive(step) {
      const QueueUrl = prefix + step
      const answer = await client.send(new ReceiveMessageCommand({ QueueUrl, MaxNumberOfMessages: 10 }))
      return (answer.Messages ?? []).map(({ Body, ReceiptHandle }) => ({
        message: messageSchema.parse(JSON.parse(Body ?? '')),
        async acknowledge() {
          await client.send(new DeleteMessageCommand({ QueueUrl, ReceiptHandle }))
        },
      }))
    },
    pass: (ms) => new Promise((resolve) => setTimeout(resolve, ms)),
    async close() {
      client.destroy()
      await server.stop()
      rmSync(dataDir, { recursive: true, force: true })
    },
  }
})
