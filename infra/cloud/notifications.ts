import { randomUUID } from 'node:crypto'
import {
  actionPayload,
  type Change,
  deadToken,
  exceptionPayload,
  legacyExceptionPayload,
  legacyPayload,
  oslostamp,
  updatePayload,
} from './notification-payloads.ts'
import type { Instance, RequestContext } from './nova-instances.ts'
import type { Records } from './records.ts'

/** nova.conf `[notifications] notification_format` */
export type NotificationFormat = 'versioned' | 'unversioned' | 'both'

export interface Delivery {
  seq: number
  routing_key: string
  /** as it would be on the wire: `{"oslo.version","oslo.message"}` */
  body: string
}

/** Nova's notifications, kept until somebody acknowledges them. */
export function notifications(records: Records, format: () => NotificationFormat) {
  const { db } = records
  db.exec('CREATE TABLE IF NOT EXISTS bus (seq INTEGER PRIMARY KEY AUTOINCREMENT, routing_key TEXT, body TEXT)')
  const insert = db.prepare('INSERT INTO bus (routing_key, body) VALUES (?, ?)')
  const select = db.prepare('SELECT seq, routing_key, body FROM bus WHERE seq > ? ORDER BY seq LIMIT ?')
  const drop = db.prepare('DELETE FROM bus WHERE seq <= ?')
  const waiting = new Set<() => void>()
  let isClosed = false

  function publish(topic: string, message: Record<string, unknown>) {
    insert.run(topic, JSON.stringify({ 'oslo.version': '2.0', 'oslo.message': JSON.stringify(message) }))
    for (const wake of waiting) wake()
  }

  function send(
    event: { versioned: string; legacy: string; publisher: string; level?: 'info' | 'error' },
    context: RequestContext,
    payload: { versioned: (nowMs: number) => unknown; legacy: (nowMs: number) => unknown },
  ) {
    const nowMs = Date.now()
    const level = event.level ?? 'info'
    const message = (type: string, publisher: string, content: unknown, token: string | null) => ({
      message_id: randomUUID(),
      publisher_id: publisher,
      event_type: type,
      priority: level.toUpperCase(),
      payload: content,
      timestamp: oslostamp(nowMs),
      _unique_id: randomUUID().replaceAll('-', ''),
      ...contextKeys(context, nowMs),
      _context_auth_token: token,
    })
    // with both formats Nova sends the legacy one some milliseconds before its versioned twin
    if (format() !== 'versioned')
      publish(
        `notifications.${level}`,
        message(
          event.legacy,
          event.publisher.replace('nova-compute', 'compute').replace(':', '.'),
          payload.legacy(nowMs),
          deadToken,
        ),
      )
    if (format() !== 'unversioned')
      publish(
        `versioned_notifications.${level}`,
        message(event.versioned, event.publisher, payload.versioned(nowMs), null),
      )
  }

  return {
    /** An update saved over RPC is published by the conductor's host, one saved by nova-api by the API. */
    update(
      instance: Instance,
      change: Change,
      context: RequestContext,
      by: 'nova-compute' | 'nova-api' = 'nova-compute',
    ) {
      send(
        { versioned: 'instance.update', legacy: 'compute.instance.update', publisher: `${by}:controller-01` },
        context,
        {
          versioned: (nowMs) => updatePayload(instance, change, context, nowMs),
          legacy: (nowMs) => legacyPayload(instance, change, nowMs),
        },
      )
    },
    /** `name` as in `power_off.start`; with the image's id it is one of snapshot.* */
    action(instance: Instance, name: string, context: RequestContext, snapshotImage: string | null = null) {
      send(
        {
          versioned: `instance.${name}`,
          legacy: `compute.instance.${name}`,
          publisher: `nova-compute:${instance.host ?? 'controller-01'}`,
        },
        context,
        {
          versioned: () => actionPayload(instance, context, snapshotImage),
          legacy: (nowMs) => legacyPayload(instance, null, nowMs),
        },
      )
    },
    /** The versioned one names neither instance nor image: only the request id tells. */
    snapshotFailed(
      instance: Instance,
      imageId: string,
      error: { is: string; message: string },
      context: RequestContext,
    ) {
      send(
        {
          versioned: 'compute.exception',
          legacy: 'snapshot_instance',
          publisher: `nova-compute:${instance.host ?? 'controller-01'}`,
          level: 'error',
        },
        context,
        {
          versioned: () => exceptionPayload(error),
          legacy: () => legacyExceptionPayload(instance, imageId, error, context),
        },
      )
    },
    /** What came after `seq`; waits for something to come for `waitMs`. */
    async after(seq: number, waitMs: number, most = 1000): Promise<Delivery[]> {
      const until = Date.now() + waitMs
      for (;;) {
        if (isClosed) return []
        const rows = select.all(seq, most)
        if (rows.length > 0 || Date.now() >= until) return rows as unknown as Delivery[]
        await new Promise<void>((resolve) => {
          const wake = () => {
            clearTimeout(timer)
            waiting.delete(wake)
            resolve()
          }
          const timer = setTimeout(wake, until - Date.now())
          waiting.add(wake)
        })
      }
    },
    acknowledge: (through: number) => void drop.run(through),
    close() {
      isClosed = true
      for (const wake of [...waiting]) wake()
    },
  }
}

function contextKeys(context: RequestContext, nowMs: number) {
  return {
    _context_user: context.user,
    _context_project_id: context.project,
    _context_system_scope: null,
    _context_project: context.project,
    _context_domain: null,
    _context_user_domain: 'default',
    _context_project_domain: 'default',
    _context_is_admin: context.roles.includes('admin'),
    _context_read_only: false,
    _context_show_deleted: false,
    _context_request_id: context.requestId,
    _context_global_request_id: null,
    _context_resource_uuid: null,
    _context_roles: context.roles,
    _context_user_identity: `${context.user} ${context.project} - default default`,
    _context_is_admin_project: true,
    _context_user_id: context.user,
    _context_read_deleted: 'no',
    _context_remote_address: null,
    _context_timestamp: oslostamp(nowMs).replace(' ', 'T'),
    _context_quota_class: null,
    _context_user_name: context.userName,
    _context_service_catalog: [],
    _context_project_name: context.projectName,
  }
}
