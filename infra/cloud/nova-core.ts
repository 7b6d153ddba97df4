import { setTimeout as sleep } from 'node:timers/promises'
import type { Cluster } from './cluster.ts'
import type { GlanceService } from './glance-service.ts'
import type { Guests } from './guests.ts'
import {
  notFound,
  type Disk,
  type Instance,
  type InstanceAction,
  instanceTable,
  NovaException,
  type RequestContext,
} from './nova-instances.ts'
import { type NotificationFormat, notifications } from './notifications.ts'
import type { Records } from './records.ts'

/** Where the snapshot job can be made to wait, or to fail, so that a race with it is won or lost on purpose. */
export type Phase = 'start' | 'snapshot' | 'clone' | 'flatten' | 'register' | 'convert' | 'upload' | 'end'

export interface NovaSettings {
  notificationFormat: NotificationFormat
  waitsMs: Record<Phase, number>
  /** once: `forbidden` is nova.exception.Forbidden, which leads Nova to the long way; `error` is any other */
  failNext: { phase: Phase; is: 'error' | 'forbidden' } | null
  /** rbd_destroy_volume_retries, rbd_destroy_volume_retry_interval */
  destroyRetries: number
  destroyRetryIntervalMs: number
}

export type NovaChange = Partial<Omit<NovaSettings, 'waitsMs'>> & { waitsMs?: Partial<NovaSettings['waitsMs']> }

const usualNova: NovaSettings = {
  notificationFormat: 'versioned',
  waitsMs: { start: 50, snapshot: 100, clone: 0, flatten: 0, register: 0, convert: 200, upload: 0, end: 0 },
  failNext: null,
  destroyRetries: 12,
  destroyRetryIntervalMs: 5000,
}

/** What nova-api and nova-compute share: the instances, their events, and the jobs under way. */
export function novaCore(options: {
  records: Records
  clusters: Record<Disk['cluster'], Cluster>
  glance: GlanceService
  guests: Guests
  snapshotsFolder: string
  defaults: NovaChange
}) {
  const { records } = options
  const instances = instanceTable(records)
  const stored = records.table<NovaSettings>('nova-settings')
  const actions = records.table<InstanceAction>('instance-action')
  const settings = (): NovaSettings => {
    const { defaults } = options
    const waitsMs = { ...usualNova.waitsMs, ...defaults.waitsMs }
    return { ...usualNova, ...defaults, waitsMs, ...stored.get('') }
  }
  const notify = notifications(records, () => settings().notificationFormat)
  let isClosed = false

  function get(id: string): Instance {
    const instance = instances.get(id)
    if (!instance || instance.vmState === 'deleted') throw notFound(id)
    return instance
  }

  /** Saves and tells. nova-api's own saves show the new task state as the old one too. */
  function save(
    id: string,
    change: Partial<Instance>,
    context: RequestContext,
    by: 'conductor' | 'api' | 'api-tags' = 'conductor',
  ): Instance {
    const old = get(id)
    const next = { ...old, ...change }
    instances.put(id, { ...next, updatedAtMs: Date.now() })
    const seen = by === 'conductor' ? old : next
    const oldName = old.name === next.name ? null : old.name
    notify.update(
      { ...next, updatedAtMs: old.updatedAtMs },
      { oldState: seen.vmState, oldTask: seen.taskState, oldName },
      context,
      by === 'api-tags' ? 'nova-api' : 'nova-compute',
    )
    return next
  }

  /** `instance.save(expected_task_state=...)` */
  function setTask(id: string, expected: string[], next: string | null, context: RequestContext): Instance {
    const instance = instances.get(id)
    if (!instance || instance.vmState === 'deleted')
      throw new NovaException('InstanceNotFound', `Instance ${id} could not be found.`)
    if (instance.taskState === 'deleting')
      throw new NovaException('UnexpectedDeletingTaskStateError', `Conflict updating instance ${id}: it is deleting.`)
    if (!expected.includes(instance.taskState ?? ''))
      throw new NovaException(
        'UnexpectedTaskStateError',
        `Conflict updating instance ${id}. Expected: ${expected.join(', ')}. Actual: ${String(instance.taskState)}`,
      )
    return save(id, { taskState: next }, context)
  }

  /** Lets time pass as it is set now: a shorter setting releases a job that waits. */
  async function phase(name: Phase): Promise<void> {
    const began = Date.now()
    for (;;) {
      if (isClosed) await new Promise(() => undefined)
      const left = settings().waitsMs[name] - (Date.now() - began)
      if (left <= 0) break
      await sleep(Math.min(left, 20))
    }
    const { failNext } = settings()
    if (failNext?.phase !== name) return
    set({ failNext: null })
    throw failNext.is === 'forbidden'
      ? new NovaException('Forbidden', `no write permission on storage pool images`)
      : new NovaException('InternalError', `made to fail in phase ${name}`)
  }

  function set(change: NovaChange) {
    const now = settings()
    stored.put('', { ...now, ...change, waitsMs: { ...now.waitsMs, ...change.waitsMs } })
  }

  /** A job goes on after its request was answered, and dies with the process. */
  function background(job: () => Promise<void>) {
    job().catch((error: unknown) => {
      if (!isClosed) console.error('embedded nova:', error)
    })
  }

  function beginAction(instance: string, action: string, context: RequestContext) {
    actions.put(context.requestId, {
      requestId: context.requestId,
      instance,
      action,
      user: context.user,
      project: context.project,
      startedAtMs: Date.now(),
      finishedAtMs: null,
      event: null,
      result: null,
      details: null,
    })
  }

  function endAction(context: RequestContext, event: string, error: Error | null) {
    const action = actions.get(context.requestId)
    if (!action) return
    const result = error ? ('Error' as const) : ('Success' as const)
    actions.put(context.requestId, {
      ...action,
      event,
      result,
      details: error?.message ?? null,
      finishedAtMs: Date.now(),
    })
  }

  return {
    instances,
    clusters: options.clusters,
    glance: options.glance,
    guests: options.guests,
    snapshotsFolder: options.snapshotsFolder,
    notify,
    settings,
    set,
    get,
    save,
    setTask,
    phase,
    background,
    beginAction,
    endAction,
    actionsOf: (instance: string) =>
      actions
        .all()
        .filter((action) => action.instance === instance)
        .sort((a, b) => b.startedAtMs - a.startedAtMs),
    isClosed: () => isClosed,
    close() {
      isClosed = true
      notify.close()
    },
  }
}
export type NovaCore = ReturnType<typeof novaCore>
