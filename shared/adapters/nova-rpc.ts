import { randomUUID } from 'node:crypto'
import * as z from 'zod/mini'
import { Failure } from '../failures.ts'
import { parseJson } from './http.ts'
import { quote } from './words.ts'

/**
 * The words of Nova's RPC (oslo.messaging, envelope 2.0), as captured from Nova's own client. A call names the queue for its
 * reply and an id that the reply repeats; without them it is a cast, which nova-compute never answers. Nova sends
 * `unquiesce_instance` as a cast; sent as a call it is answered, with its error if it had one (Zed).
 */
export interface Call {
  method: 'quiesce_instance' | 'unquiesce_instance'
  /** of nova-compute's RPC API; it serves every minor version up to its own, and the major version before */
  version: string
  instance: string
  /** not sent later, nor fetched by nova-compute later */
  untilMs?: number | undefined
}

/** `error` is the exception's class, `words` its whole message. */
export type Reply = { is: 'done' } | { is: 'failed'; error: string; words: string }

/**
 * Only the instance's id: whatever else nova-compute needs of it, it loads from the conductor by itself, and all that it checks of
 * the context is that somebody with a bus is an administrator. Version 2.0 of the object is the oldest that every Nova
 * since Liberty takes as it is; a newer one than its own it would have to have translated.
 */
export function encode({ method, version, instance }: Call, id: string, replyQueue: string): Buffer {
  const message = {
    method,
    version,
    args: {
      instance: {
        'nova_object.name': 'Instance',
        'nova_object.namespace': 'nova',
        'nova_object.version': '2.0',
        'nova_object.data': { uuid: instance },
        'nova_object.changes': [],
      },
    },
    _msg_id: id,
    _reply_q: replyQueue,
    _timeout: null,
    _unique_id: randomUUID().replaceAll('-', ''),
    _context_is_admin: true,
    _context_roles: ['admin'],
    _context_project_id: null,
    _context_user_id: null,
    _context_read_deleted: 'no',
    // stands in nova-compute's log beside what it did
    _context_request_id: `req-${randomUUID()}`,
  }
  return Buffer.from(JSON.stringify({ 'oslo.version': '2.0', 'oslo.message': JSON.stringify(message) }))
}

const envelope = z.object({ 'oslo.message': z.string() })
const answer = z.object({ _msg_id: z.string(), failure: z.optional(z.nullable(z.string())) })
const failure = z.object({ class: z.string(), message: z.string() })

/** @throws Failure ANSWER_UNREADABLE */
export function decodeReply(body: Buffer): { id: string; reply: Reply } {
  const outer = envelope.safeParse(parseJson(body.toString('utf8')))
  const inner = answer.safeParse(outer.success ? parseJson(outer.data['oslo.message']) : undefined)
  if (!inner.success) throw new Failure('ANSWER_UNREADABLE', `nova-compute answered: ${quote(body.toString('utf8'))}`)
  const { _msg_id: id, failure: failed } = inner.data
  if (typeof failed !== 'string') return { id, reply: { is: 'done' } }
  const said = failure.safeParse(parseJson(failed))
  if (!said.success) return { id, reply: { is: 'failed', error: 'unknown', words: failed } }
  // the traceback of an error that came from the conductor is in its message
  return { id, reply: { is: 'failed', error: said.data.class, words: said.data.message.split('\nTraceback')[0] ?? '' } }
}
