import { GetQueueAttributesCommand, SQSClient } from '@aws-sdk/client-sqs'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { sqlite } from '../../shared/adapters/sqlite.ts'
import { sqs } from '../../shared/adapters/sqs.ts'
import { Failure } from '../../shared/failures.ts'
import type { Journal, Leases } from '../../shared/ports/journal.ts'
import type { QueueStep } from '../../shared/pipeline.ts'
import type { Queue } from '../../shared/ports/queue.ts'
import { runningStack, startStack, type Stack, type StackOptions } from '../embedded/stack.ts'

/**
 * A stack as a command uses it: one that runs already over RBDSNAP_DATA_DIR, or one started for the command. What is started
 * works on the embedded cloud unless the command says otherwise, whatever cloud the environment names.
 */
export interface Session {
  dataDir: string
  /** the embedded cloud's back door; null when the stack works on a real cloud */
  controlUrl: string | null
  env: Record<string, string>
  queue: Queue
  journal: Journal
  leases: Leases
  /** messages in a step's queue: waiting, delayed or being worked on; null while the queue does not answer */
  depthOf: (step: QueueStep) => Promise<number | null>
  /** null when somebody else keeps the stack running */
  own: Stack | null
  close: () => Promise<void>
}

export async function openSession(options: StackOptions = {}): Promise<Session> {
  const wanted = process.env['RBDSNAP_DATA_DIR']
  const dataDir = wanted ? resolve(wanted) : mkdtempSync(join(tmpdir(), 'rbdsnap-'))
  const other = wanted ? runningStack(dataDir) : null
  const own = other ? null : await startStack(dataDir, options)
  const at = other ?? own
  if (!at) throw new Failure('UNKNOWN', 'there is no stack.')
  const { env, controlUrl } = at
  const { journal, leases, close } = sqlite(pathOf(env['RBDSNAP_JOURNAL'] ?? ''))
  const client = new SQSClient({
    endpoint: env['AWS_ENDPOINT_URL_SQS'] ?? '',
    region: 'us-east-1',
    credentials: { accessKeyId: 'embedded', secretAccessKey: 'embedded' },
  })
  return {
    dataDir,
    controlUrl,
    env,
    queue: sqs(client, env['RBDSNAP_QUEUE_PREFIX'] ?? ''),
    journal,
    leases,
    own,
    depthOf: (step) => depthOf(client, (env['RBDSNAP_QUEUE_PREFIX'] ?? '') + step),
    async close() {
      close()
      client.destroy()
      await own?.stop()
      if (!wanted) rmSync(dataDir, { recursive: true, force: true })
    },
  }
}

async function depthOf(client: SQSClient, queueUrl: string): Promise<number | null> {
  try {
    const answer = await client.send(new GetQueueAttributesCommand({ QueueUrl: queueUrl, AttributeNames: ['All'] }))
    const counts = ['', 'NotVisible', 'Delayed'].map((which) => `ApproximateNumberOfMessages${which}`)
    return counts.reduce(
      (sum, name) => sum + Number(answer.Attributes?.[name as keyof typeof answer.Attributes] ?? 0),
      0,
    )
  } catch {
    return null
  }
}

/** The journal that the environment names, for commands that only read. */
export function journalPath(): string | null {
  const dataDir = process.env['RBDSNAP_DATA_DIR']
  const named = process.env['RBDSNAP_JOURNAL']
  if (named) return pathOf(named)
  return dataDir ? join(resolve(dataDir), 'journal.sqlite') : null
}

function pathOf(journal: string): string {
  return journal.replace(/^sqlite:/, '')
}
