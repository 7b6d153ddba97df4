import { SendMessageCommand, type SQSClient } from '@aws-sdk/client-sqs'
import { Failure } from '../failures.ts'
import { groupOf } from '../fair.ts'
import type { Queue } from '../ports/queue.ts'

/** SQS refuses a longer DelaySeconds. A message that is due later comes back early and finds itself waiting again. */
const longestDelayS = 900

/** @param prefix the queues' URLs without the step at their end, `https://.../rbdsnap-` */
export function sqs(client: SQSClient, prefix: string): Queue {
  return {
    async send(message, delayMs = 0) {
      const delayS = Math.min(longestDelayS, Math.ceil(Math.max(0, delayMs) / 1000))
      const group = groupOf(message)
      const command = new SendMessageCommand({
        QueueUrl: prefix + message.step,
        MessageBody: JSON.stringify(message),
        ...(delayS > 0 ? { DelaySeconds: delayS } : {}),
        // On a standard queue it orders nothing: whose turn the message takes (docs/adr/0009).
        ...(group === null ? {} : { MessageGroupId: group }),
      })
      try {
        await client.send(command)
      } catch (error) {
        const words = error instanceof Error ? `${error.name}: ${error.message}` : String(error)
        throw new Failure('QUEUE_UNREACHABLE', `queue ${prefix}${message.step}: ${words}`, { cause: error })
      }
    },
  }
}
