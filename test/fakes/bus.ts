import { hear } from '../../shared/notification.ts'
import { messageVersion } from '../../shared/run.ts'
import type { Server } from '../../shared/ports/compute.ts'
import type { FakeClock } from './clock.ts'
import type { FakeQueue } from './queue.ts'

export type NotificationFormat = 'versioned' | 'legacy' | 'both'

/** What older clouds put into every legacy body, and what must never be seen again behind the door. */
export const plantedToken = 'gAAAAABplanted-token-of-a-tenant'

export type Bus = ReturnType<typeof fakeBus>

/** Nova's notifications as they are on the wire, through the door and into the first queue. */
export function fakeBus(clock: FakeClock, queue: FakeQueue, said: { format: NotificationFormat }) {
  let sent = 0

  function wire(eventType: string, payload: Record<string, unknown>): string {
    sent += 1
    const inner = {
      message_id: `00000000-0000-4000-9000-${String(sent).padStart(12, '0')}`,
      event_type: eventType,
      priority: 'INFO',
      timestamp: new Date(clock.nowMs()).toISOString().replace('T', ' ').replace('Z', '000'),
      payload,
      _context_auth_token: plantedToken,
    }
    return JSON.stringify({ 'oslo.version': '2.0', 'oslo.message': JSON.stringify(inner) })
  }
  const put = (body: string) =>
    void queue.port.send({ v: messageVersion, step: 'ingest', tries: 0, heard: hear(body) }, 0)

  function versioned(event: string, { id, project, tags }: Server, more: Record<string, unknown>): void {
    // the only payload among these that carries them (nova/notifications/objects/instance.py InstanceUpdatePayload)
    const carried = event === 'instance.update' ? { tags } : {}
    const data = { uuid: id, tenant_id: project, ...carried, ...more }
    put(wire(event, { 'nova_object.name': 'InstanceActionPayload', 'nova_object.data': data }))
  }
  function legacy(event: string, { id, project }: Server): void {
    if (event === 'compute.exception') {
      const args = { instance: { uuid: id, project_id: project } }
      put(wire('snapshot_instance', { exception: {}, args, _context: { auth_token: plantedToken } }))
    } else put(wire(`compute.${event}`, { instance_id: id, tenant_id: project, state: 'active' }))
  }

  return {
    put,
    notify(event: string, server: Server, more: Record<string, unknown> = {}): void {
      if (said.format !== 'legacy') versioned(event, server, more)
      if (said.format !== 'versioned') legacy(event, server)
    },
  }
}
