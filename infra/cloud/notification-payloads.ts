import type { Instance, RequestContext } from './nova-instances.ts'

/** The change that an `instance.update` tells of. */
export interface Change {
  oldState: string
  oldTask: string | null
  oldName: string | null
}

/** Older clouds put the user's live token into legacy notifications; whoever reads them must drop it. Good for nothing. */
export const deadToken = `gAAAAABdead-token-${'x'.repeat(120)}`

const powerNames: Record<Instance['powerState'], string> = { 0: 'pending', 1: 'running', 3: 'paused', 4: 'shutdown' }

const object = (name: string, version: string, data: unknown) => ({
  'nova_object.name': name,
  'nova_object.namespace': 'nova',
  'nova_object.version': version,
  'nova_object.data': data,
})

const seconds = (ms: number | null) => (ms === null ? null : `${new Date(ms).toISOString().slice(0, 19)}Z`)
const micros = (ms: number) => `${new Date(ms).toISOString().slice(0, 23)}000`
const hourBegin = (ms: number) => ms - (ms % 3_600_000)

/** "2026-11-23 01:21:31.245854": UTC without a zone */
export const oslostamp = (ms: number) => micros(ms).replace('T', ' ')

function common(instance: Instance, context: RequestContext) {
  return {
    uuid: instance.id,
    user_id: instance.user,
    tenant_id: instance.project,
    reservation_id: instance.reservation,
    display_name: instance.name,
    display_description: null,
    host_name: instance.hostname,
    host: instance.host,
    node: instance.host,
    os_type: null,
    architecture: null,
    availability_zone: 'nova',
    flavor: object('FlavorPayload', '1.4', {
      flavorid: instance.flavor.name,
      memory_mb: 192,
      vcpus: 1,
      root_gb: instance.flavor.rootGib,
      ephemeral_gb: 0,
      name: instance.flavor.name,
      swap: 0,
      rxtx_factor: 1,
      vcpu_weight: 0,
      disabled: false,
      is_public: true,
      extra_specs: {},
      projects: null,
      description: null,
    }),
    image_uuid: instance.imageId,
    key_name: null,
    kernel_id: '',
    ramdisk_id: '',
    created_at: seconds(instance.createdAtMs),
    launched_at: seconds(instance.launchedAtMs),
    terminated_at: seconds(instance.deletedAtMs),
    deleted_at: seconds(instance.deletedAtMs),
    updated_at: seconds(instance.updatedAtMs),
    state: instance.vmState,
    power_state: powerNames[instance.powerState],
    task_state: instance.taskState,
    progress: 0,
    ip_addresses: [],
    block_devices: [],
    metadata: instance.metadata,
    locked: instance.isLocked,
    auto_disk_config: 'MANUAL',
    request_id: context.requestId,
    action_initiator_user: context.user,
    action_initiator_project: context.project,
    locked_reason: null,
  }
}

export function updatePayload(instance: Instance, change: Change, context: RequestContext, nowMs: number) {
  return object('InstanceUpdatePayload', '2.0', {
    state_update: object('InstanceStateUpdatePayload', '1.0', {
      old_state: change.oldState,
      state: instance.vmState,
      old_task_state: change.oldTask,
      new_task_state: instance.taskState,
    }),
    audit_period: object('AuditPeriodPayload', '1.0', {
      audit_period_beginning: seconds(hourBegin(nowMs)),
      audit_period_ending: seconds(nowMs),
    }),
    old_display_name: change.oldName,
    tags: instance.tags,
    ...common(instance, context),
  })
}

export function actionPayload(instance: Instance, context: RequestContext, snapshotImage: string | null) {
  return snapshotImage === null
    ? object('InstanceActionPayload', '1.8', { fault: null, ...common(instance, context) })
    : object('InstanceActionSnapshotPayload', '1.9', {
        snapshot_image_id: snapshotImage,
        fault: null,
        ...common(instance, context),
      })
}

export function exceptionPayload(error: { is: string; message: string }) {
  return object('ExceptionPayload', '1.1', {
    module_name: 'nova.compute.manager',
    function_name: '_snapshot_instance',
    exception: error.is,
    exception_message: error.message,
    traceback: `Traceback (most recent call last):\n,nova.exception.${error.is}: ${error.message}\n`,
  })
}

export function legacyPayload(instance: Instance, change: Change | null, nowMs: number) {
  const deleted = instance.deletedAtMs === null ? '' : micros(instance.deletedAtMs)
  const update = change && {
    old_state: change.oldState,
    old_task_state: change.oldTask,
    new_task_state: instance.taskState,
    audit_period_beginning: micros(hourBegin(nowMs)),
    audit_period_ending: micros(nowMs),
    ...(change.oldName === null ? {} : { old_display_name: change.oldName }),
  }
  return {
    tenant_id: instance.project,
    user_id: instance.user,
    instance_id: instance.id,
    display_name: instance.name,
    reservation_id: instance.reservation,
    hostname: instance.hostname,
    instance_type: instance.flavor.name,
    instance_type_id: instance.flavor.rootGib,
    instance_flavor_id: instance.flavor.name,
    architecture: null,
    memory_mb: 192,
    disk_gb: instance.flavor.rootGib,
    vcpus: 1,
    root_gb: instance.flavor.rootGib,
    ephemeral_gb: 0,
    host: instance.host,
    node: instance.host,
    availability_zone: 'nova',
    cell_name: '',
    created_at: `${new Date(instance.createdAtMs).toISOString().slice(0, 19).replace('T', ' ')}+00:00`,
    terminated_at: deleted,
    deleted_at: deleted,
    launched_at: micros(instance.launchedAtMs),
    image_ref_url: `http://controller-01:9292/images/${instance.imageId ?? ''}`,
    os_type: null,
    kernel_id: '',
    ramdisk_id: '',
    state: instance.vmState,
    state_description: instance.taskState ?? '',
    progress: '',
    access_ip_v4: null,
    access_ip_v6: null,
    image_meta: instance.imageProps,
    metadata: instance.metadata,
    ...update,
  }
}

/** The legacy twin of compute.exception: the failed call's arguments, with the context of the call in them. */
export function legacyExceptionPayload(
  instance: Instance,
  imageId: string,
  error: { is: string; message: string },
  context: RequestContext,
) {
  return {
    exception: `{'kwargs': {'image_id': '${imageId}', 'code': 500}, 'message': '${error.message}', 'class': '${error.is}'}`,
    args: {
      instance: {
        id: instance.numericId,
        uuid: instance.id,
        user_id: instance.user,
        project_id: instance.project,
        image_ref: instance.imageId,
        hostname: instance.hostname,
        power_state: instance.powerState,
        vm_state: instance.vmState,
        task_state: instance.taskState,
        root_gb: instance.flavor.rootGib,
        host: instance.host,
        node: instance.host,
        display_name: instance.name,
        metadata: instance.metadata,
        system_metadata: Object.fromEntries(Object.entries(instance.imageProps).map(([k, v]) => [`image_${k}`, v])),
        info_cache: {
          _context: {
            _user_id: context.user,
            _project_id: context.project,
            auth_token: deadToken,
            user_name: context.userName,
            project_name: context.projectName,
            roles: context.roles,
            request_id: context.requestId,
          },
          _obj_instance_uuid: instance.id,
        },
      },
      image_id: imageId,
    },
  }
}
