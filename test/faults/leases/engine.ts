import { handler as cleanup } from '../../../functions/cleanup.ts'
import { handler as clone } from '../../../functions/clone.ts'
import { handler as fallback } from '../../../functions/fallback.ts'
import { handler as flatten } from '../../../functions/flatten.ts'
import { handler as ingest } from '../../../functions/ingest.ts'
import { handler as quiesce } from '../../../functions/quiesce.ts'
import { handler as register } from '../../../functions/register.ts'
import { handler as snapshot } from '../../../functions/snapshot.ts'
import { handler as sweep } from '../../../functions/sweep.ts'
import { handler as thaw } from '../../../functions/thaw.ts'
import { handler as unwind } from '../../../functions/unwind.ts'
import { besides, pipeline, type QueueStep } from '../../../shared/pipeline.ts'

/** One engine: the handlers as they are, in a process of its own, over the journal, queue and cloud that the environment names. */
export interface Invocation {
  id: number
  step: QueueStep
  body: string
}

const handlers = { ingest, quiesce, snapshot, clone, register, flatten, cleanup, fallback, unwind, thaw, sweep }
type Event = Parameters<typeof quiesce>[0]
type Lambda = Parameters<typeof quiesce>[1]

process.on('message', ({ id, step, body }: Invocation) => {
  const { timeoutMs } = { ...pipeline, ...besides }[step]
  const endsAtMs = Date.now() + timeoutMs
  const event = { Records: [{ messageId: String(id), body }] } as Event
  const context = { getRemainingTimeInMillis: () => endsAtMs - Date.now() } as Lambda
  const answer = (isDone: boolean) => process.send?.({ id, isDone })
  handlers[step](event, context).then(
    (said) => answer(said.batchItemFailures.length === 0),
    () => answer(false),
  )
})
// with whoever started it
process.on('disconnect', () => process.exit())
