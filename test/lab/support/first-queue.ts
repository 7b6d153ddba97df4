import { createHash, randomUUID } from 'node:crypto'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Heard } from '../../../shared/run.ts'

/** The first queue as far as a bridge knows it: takes messages by SQS's protocol, or does not, and says what it took. */
export interface FirstQueue {
  env: Record<string, string>
  taken: Heard[]
  /** asked after each message was taken, before the bridge hears of it */
  beforeAnswer: () => void
  isAway: boolean
  close: () => Promise<void>
}

export async function firstQueue(): Promise<FirstQueue> {
  const server = createServer((request, response) => {
    const chunks: Buffer[] = []
    request.on('data', (chunk: Buffer) => chunks.push(chunk))
    request.on('end', () => {
      if (queue.isAway) {
        response.writeHead(503).end()
        return
      }
      const { MessageBody } = JSON.parse(Buffer.concat(chunks).toString('utf8')) as { MessageBody: string }
      queue.taken.push((JSON.parse(MessageBody) as { heard: Heard }).heard)
      queue.beforeAnswer()
      const MD5OfMessageBody = createHash('md5').update(MessageBody).digest('hex')
      response.writeHead(200, { 'content-type': 'application/x-amz-json-1.0' })
      response.end(JSON.stringify({ MessageId: randomUUID(), MD5OfMessageBody }))
    })
  })
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done))
  const at = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const queue: FirstQueue = {
    env: {
      AWS_ENDPOINT_URL_SQS: at,
      AWS_REGION: 'us-east-1',
      AWS_ACCESS_KEY_ID: 'test',
      AWS_SECRET_ACCESS_KEY: 'test',
      RBDSNAP_QUEUE_PREFIX: `${at}/000000000000/rbdsnap-`,
    },
    taken: [],
    beforeAnswer: () => undefined,
    isAway: false,
    async close() {
      server.closeAllConnections()
      await new Promise((done) => server.close(done))
    },
  }
  return queue
}
