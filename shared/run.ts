import * as z from 'zod/mini'
import { failures, type FailureCode } from './failures.ts'

/**
 * The message is the run: what a step needs is in its variant, so a step that forgets a fact for the next one does not
 * compile. Every queue carries these and nothing else. `v` is the version of the format; a message of another version is
 * parked with its body (docs/operate.md, upgrade).
 */
export const messageVersion = 1

const uuid = z.guid()
const text = z.string().check(z.maxLength(1024))
const ms = z.number().check(z.nonnegative())
const code = z.enum(Object.keys(failures) as [FailureCode, ...FailureCode[]])

export const quiescePolicy = z.enum(['none', 'prefer', 'require'])
export type QuiescePolicy = z.infer<typeof quiescePolicy>

const trigger = z.discriminatedUnion('is', [
  z.object({ is: z.literal('tag'), tag: text, epoch: z.number() }),
  z.object({ is: z.literal('take-over') }),
  /** `atMs`: of the event, as Nova says it */
  z.object({ is: z.literal('policy'), action: text, atMs: ms }),
])

/** Who wants what; fixed when the run is reserved. */
const wish = z.object({
  run: uuid,
  instance: uuid,
  project: text,
  image: uuid,
  imageName: text,
  trigger,
  /** `auto`: by the image's own properties, when the step gets there */
  quiesce: z.union([quiescePolicy, z.literal('auto')]),
  rule: text,
  requestedAtMs: ms,
})
export type Wish = z.infer<typeof wish>

const disk = z.object({ cluster: text, pool: text, image: text, sizeBytes: ms })
export type Disk = z.infer<typeof disk>

const freeze = z.discriminatedUnion('is', [
  z.object({ is: z.literal('frozen'), epoch: z.number(), askedAtMs: ms }),
  z.object({ is: z.literal('offline'), why: text }),
  z.object({ is: z.literal('none'), why: text }),
])

const consistency = z.object({
  verdict: z.enum(['filesystem', 'crash', 'offline']),
  why: text,
  frozenMs: z.nullable(ms),
})
export type Consistency = z.infer<typeof consistency>

const because = z.object({ code, words: z.string(), at: text })
export type Because = z.infer<typeof because>

const road = z.enum(['clone', 'copy', 'upload'])

/** hop, tries and sinceMs are the driver's: which message of the run this is, how often the step failed, when it was first asked for. */
const envelope = { v: z.literal(messageVersion), wish, hop: z.number(), tries: z.number(), sinceMs: ms }
const taken = { disk, policy: quiescePolicy, freeze }
const snapped = { disk, consistency, why: z.array(text) }

const quiesce = z.object({ ...envelope, step: z.literal('quiesce') })
const snapshot = z.object({ ...envelope, step: z.literal('snapshot'), ...taken })
const clone = z.object({ ...envelope, step: z.literal('clone'), ...snapped })
const register = z.object({ ...envelope, step: z.literal('register'), ...snapped, road })
const flatten = z.object({ ...envelope, step: z.literal('flatten'), ...snapped, road, usableMs: ms })
const older = z.object({
  /** those that the run has removed, or could not: each is tried once */
  done: z.array(uuid),
  /** the one that goes next, noted before it does: no undo brings it back */
  next: z.nullable(z.object({ image: uuid, notedAtMs: ms })),
})
export type Older = z.infer<typeof older>

const cleanup = z.object({
  ...envelope,
  step: z.literal('cleanup'),
  ...snapped,
  road,
  usableMs: ms,
  /** older images of the policy; everything else is done then */
  older: z.optional(older),
})
const fallback = z.object({
  ...envelope,
  step: z.literal('fallback'),
  ...snapped,
  rung: z.enum(['clear', 'copy', 'upload']),
})
const unwind = z.object({
  ...envelope,
  step: z.literal('unwind'),
  disk: z.nullable(disk),
  consistency: z.nullable(consistency),
  why: z.array(text),
  undos: z.array(z.enum(['releaseClaim', 'thaw', 'dropSourceSnapshot', 'dropClone', 'dropRecord', 'dropCopy'])),
  because,
})

const runMessage = z.discriminatedUnion('step', [
  quiesce,
  snapshot,
  clone,
  register,
  flatten,
  cleanup,
  fallback,
  unwind,
])
export type RunMessage = z.infer<typeof runMessage>

/**
 * What a notification says, as far as it concerns us. Only these fields pass the door: older clouds put a live token, user
 * data and keys into the rest.
 */
const notification = z.object({
  is: z.literal('notification'),
  format: z.enum(['versioned', 'legacy']),
  /** as it was on the wire */
  eventType: text,
  /** in the versioned form: instance.snapshot.start for compute.instance.snapshot.start */
  event: text,
  messageId: text,
  atMs: ms,
  instance: z.nullable(uuid),
  project: z.nullable(text),
  /** Nova's image; versioned snapshot notifications only */
  image: z.nullable(uuid),
  /** null where the notification does not carry tags, which is not the same as none */
  tags: z.nullable(z.array(text)),
})
export type Notification = z.infer<typeof notification>

const unreadable = z.object({ is: z.literal('unreadable'), text: z.string(), why: z.string() })
export type Unreadable = z.infer<typeof unreadable>

/** A request that the sweep found on a server, its notification lost. */
const tagged = z.object({ is: z.literal('tagged'), instance: uuid, project: text, tag: text })

const ingest = z.object({
  v: z.literal(messageVersion),
  step: z.literal('ingest'),
  tries: z.number(),
  heard: z.discriminatedUnion('is', [notification, unreadable, tagged]),
})
export type Heard = z.infer<typeof ingest>['heard']

const thaw = z.object({ v: z.literal(messageVersion), step: z.literal('thaw'), instance: uuid, epoch: z.number() })
const sweep = z.object({ v: z.literal(messageVersion), step: z.literal('sweep') })

export const message = z.discriminatedUnion('step', [
  ingest,
  thaw,
  sweep,
  quiesce,
  snapshot,
  clone,
  register,
  flatten,
  cleanup,
  fallback,
  unwind,
])
export type Message = z.infer<typeof message>
export type MessageOf<S extends Message['step']> = Extract<Message, { step: S }>
export type RunStep = RunMessage['step']

/** A message as a step writes it: the driver numbers it. */
export type Draft<S extends RunStep> = { [K in S]: Omit<MessageOf<K>, 'v' | 'hop' | 'tries' | 'sinceMs'> }[S]

export function isRunMessage(m: Message): m is RunMessage {
  return m.step !== 'ingest' && m.step !== 'thaw' && m.step !== 'sweep'
}
