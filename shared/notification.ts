import * as z from 'zod/mini'
import { blacken } from './blacken.ts'
import { deepestJson, depthOf } from './json-depth.ts'
import type { Heard, Notification, Unreadable } from './run.ts'

/**
 * The door. A body from the bus goes in, the few fields that concern us come out; all else, `_context_*` and nested tokens
 * first of all, stays outside. What cannot be read comes out as `unreadable`, with its secrets blackened, to be parked:
 * nothing here throws, and nothing is thrown away.
 */
export const maxBodyBytes = 1024 * 1024
const keptCharacters = 16 * 1024

const uuid = z.guid()
const optionalText = z.optional(z.nullable(z.string().check(z.maxLength(1024))))

const envelope = z.object({
  event_type: z.string().check(z.minLength(1), z.maxLength(255)),
  message_id: z.string().check(z.maxLength(255)),
  timestamp: z.string().check(z.maxLength(64)),
  payload: z.unknown(),
})

const versionedPayload = z.object({
  'nova_object.data': z.object({
    uuid: z.optional(z.nullable(uuid)),
    tenant_id: optionalText,
    snapshot_image_id: z.optional(z.nullable(uuid)),
    tags: z.optional(z.nullable(z.array(z.string().check(z.maxLength(1024))).check(z.maxLength(1024)))),
  }),
})
const legacyPayload = z.object({
  instance_id: z.optional(z.nullable(uuid)),
  tenant_id: optionalText,
})
/** `snapshot_instance` and its kind: an exception with the arguments of the call that failed. */
const legacyException = z.object({
  args: z.object({
    instance: z.object({ uuid, project_id: optionalText }),
    image_id: z.optional(z.nullable(uuid)),
  }),
})

/** @param body what was on the wire: bytes, text, or JSON already parsed; with or without oslo.messaging's envelope */
export function hear(body: unknown): Heard {
  const text = typeof body === 'string' ? body : body instanceof Uint8Array ? decode(body) : null
  try {
    if (body instanceof Uint8Array && body.length > maxBodyBytes) throw new Unread(`larger than ${maxBodyBytes} bytes`)
    const outer = text === null ? body : parse(text)
    return read(unwrap(outer))
  } catch (error) {
    if (!(error instanceof Unread)) throw error
    return unreadable(text ?? safeJson(body), error.message)
  }
}

class Unread extends Error {}

function read(inner: unknown): Notification {
  const outside = check(envelope, inner)
  const inUtc = outside.timestamp
    .replace(' ', 'T')
    .replace(/(\.\d{3})\d*/, '$1')
    .replace(/Z?$/, 'Z')
  const atMs = Date.parse(inUtc)
  if (!(atMs >= 0)) throw new Unread('timestamp is not a time')
  const base = { is: 'notification' as const, eventType: outside.event_type, messageId: outside.message_id, atMs }
  const payload = outside.payload
  if (isObject(payload) && 'nova_object.data' in payload) {
    const data = check(versionedPayload, payload)['nova_object.data']
    const event = outside.event_type
    return {
      ...base,
      format: 'versioned',
      event,
      instance: data.uuid?.toLowerCase() ?? null,
      project: data.tenant_id ?? null,
      image: data.snapshot_image_id?.toLowerCase() ?? null,
      tags: data.tags ?? null,
    }
  }
  const event = versionedName(outside.event_type)
  const legacy = { ...base, format: 'legacy' as const, event, image: null, tags: null }
  if (isObject(payload) && isObject(payload['args']) && isObject(payload['args']['instance'])) {
    const { args } = check(legacyException, payload)
    return {
      ...legacy,
      instance: args.instance.uuid.toLowerCase(),
      project: args.instance.project_id ?? null,
      image: args.image_id?.toLowerCase() ?? null,
    }
  }
  if (!outside.event_type.startsWith('compute.instance.')) return { ...legacy, instance: null, project: null }
  const data = check(legacyPayload, payload)
  return { ...legacy, instance: data.instance_id?.toLowerCase() ?? null, project: data.tenant_id ?? null }
}

/** Legacy names that are not just the versioned one behind `compute.` (nova/notifications, nova/compute/utils.py). */
const renamed = new Map([
  ['instance.rebuild.scheduled', 'instance.rebuild_scheduled'],
  ['snapshot_instance', 'compute.exception'],
])
function versionedName(legacy: string): string {
  const short = legacy.replace(/^compute\.(?=instance\.)/, '')
  return (
    renamed.get(short) ??
    short
      .replace(/^instance\.finish_resize\./, 'instance.resize_finish.')
      .replace(/^instance\.resize\.(prep|confirm|revert)\./, 'instance.resize_$1.')
      // live_migration._post, live_migration.post.dest, live.migration.abort: nova/compute/manager.py was never of one mind
      .replace(
        /^instance\.live[._]migration\._?([\w.]+)\.(start|end)$/,
        (_all, what: string, when: string) => `instance.live_migration_${what.replaceAll('.', '_')}.${when}`,
      )
  )
}

function unwrap(outer: unknown): unknown {
  if (!isObject(outer) || !('oslo.message' in outer)) return outer
  const inner = outer['oslo.message']
  if (typeof inner !== 'string') throw new Unread('oslo.message is not text')
  return parse(inner)
}

function parse(text: string): unknown {
  if (text.length > maxBodyBytes) throw new Unread(`larger than ${maxBodyBytes} bytes`)
  if (depthOf(text) > deepestJson) throw new Unread(`nested deeper than ${deepestJson}`)
  try {
    return JSON.parse(text)
  } catch {
    // V8 quotes the text around the fault, which may be a secret.
    throw new Unread('not JSON')
  }
}

function check<T extends z.ZodMiniType>(schema: T, value: unknown): z.infer<T> {
  const result = z.safeParse(schema, value)
  if (result.success) return result.data
  const issue = result.error.issues[0]
  throw new Unread(`${issue?.path.join('.') || 'body'}: ${issue?.message ?? 'wrong type'}`)
}

function decode(bytes: Uint8Array): string {
  return new TextDecoder().decode(bytes.subarray(0, maxBodyBytes))
}

function safeJson(value: unknown): string {
  try {
    return JSON.stringify(value) ?? String(value)
  } catch {
    return '(cannot be shown)'
  }
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function unreadable(text: string, why: string): Unreadable {
  // Blackened first: what is left of a secret that is cut in two no longer looks like one.
  const kept = blacken(text.slice(0, maxBodyBytes)).slice(0, keptCharacters)
  const cut = text.length > keptCharacters ? ` (${text.length} characters in all)` : ''
  return { is: 'unreadable', text: kept + cut, why }
}
