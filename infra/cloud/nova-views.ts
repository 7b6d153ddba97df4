import { createHash } from 'node:crypto'
import type { Instance, InstanceAction } from './nova-instances.ts'

const statuses: Record<string, string> = {
  active: 'ACTIVE',
  stopped: 'SHUTOFF',
  paused: 'PAUSED',
  suspended: 'SUSPENDED',
  shelved: 'SHELVED',
  shelved_offloaded: 'SHELVED_OFFLOADED',
  'soft-delete': 'SOFT_DELETED',
  rescued: 'RESCUE',
  resized: 'VERIFY_RESIZE',
  building: 'BUILD',
  error: 'ERROR',
}
const time = (ms: number) => `${new Date(ms).toISOString().slice(0, 19)}Z`
const micros = (ms: number) => `${new Date(ms).toISOString().slice(0, 23)}000`

/** Nova does not tell a tenant which host it is, only whether two servers are on the same one. */
function hostId({ project, host }: Instance): string {
  return host === null
    ? ''
    : createHash('sha224')
        .update(project + host)
        .digest('hex')
}

export const statusOf = (instance: Instance) => statuses[instance.vmState] ?? 'UNKNOWN'

export function briefServer(instance: Instance, base: string) {
  return { id: instance.id, name: instance.name, links: [{ rel: 'self', href: `${base}/servers/${instance.id}` }] }
}

/** GET /servers/{id}, by microversion: tags came with 2.26, the flavor inside with 2.47. */
export function shownServer(instance: Instance, base: string, minor: number, isAdmin: boolean) {
  const { flavor } = instance
  return {
    ...briefServer(instance, base),
    status: statusOf(instance),
    tenant_id: instance.project,
    user_id: instance.user,
    metadata: instance.metadata,
    hostId: hostId(instance),
    image: instance.imageId
      ? { id: instance.imageId, links: [{ rel: 'bookmark', href: `${base}/images/${instance.imageId}` }] }
      : '',
    flavor:
      minor >= 47
        ? {
            vcpus: 1,
            ram: 192,
            disk: flavor.rootGib,
            ephemeral: 0,
            swap: 0,
            original_name: flavor.name,
            extra_specs: {},
          }
        : { id: flavor.name, links: [{ rel: 'bookmark', href: `${base}/flavors/${flavor.name}` }] },
    created: time(instance.createdAtMs),
    updated: time(instance.updatedAtMs),
    addresses: {},
    accessIPv4: '',
    accessIPv6: '',
    'OS-DCF:diskConfig': 'MANUAL',
    progress: 0,
    'OS-EXT-AZ:availability_zone': 'nova',
    config_drive: '',
    key_name: null,
    'OS-SRV-USG:launched_at': micros(instance.launchedAtMs),
    'OS-SRV-USG:terminated_at': null,
    'OS-EXT-STS:task_state': instance.taskState,
    'OS-EXT-STS:vm_state': instance.vmState,
    'OS-EXT-STS:power_state': instance.powerState,
    'os-extended-volumes:volumes_attached': [],
    ...(isAdmin ? adminFields(instance, minor) : {}),
    ...(minor >= 9 ? { locked: instance.isLocked } : {}),
    ...(minor >= 19 ? { description: null } : {}),
    ...(minor >= 26 ? { tags: instance.tags } : {}),
    ...(minor >= 63 ? { trusted_image_certificates: null } : {}),
    ...(minor >= 71 ? { server_groups: [] } : {}),
    ...(minor >= 73 ? { locked_reason: null } : {}),
  }
}

function adminFields(instance: Instance, minor: number) {
  return {
    'OS-EXT-SRV-ATTR:host': instance.host,
    'OS-EXT-SRV-ATTR:hypervisor_hostname': instance.host,
    'OS-EXT-SRV-ATTR:instance_name': `instance-${instance.numericId.toString(16).padStart(8, '0')}`,
    ...(minor >= 3
      ? {
          'OS-EXT-SRV-ATTR:hostname': instance.hostname,
          'OS-EXT-SRV-ATTR:reservation_id': instance.reservation,
          'OS-EXT-SRV-ATTR:launch_index': 0,
          'OS-EXT-SRV-ATTR:kernel_id': '',
          'OS-EXT-SRV-ATTR:ramdisk_id': '',
          'OS-EXT-SRV-ATTR:root_device_name': '/dev/vda',
          'OS-EXT-SRV-ATTR:user_data': null,
        }
      : {}),
  }
}

export function shownAction(action: InstanceAction) {
  return {
    action: action.action,
    instance_uuid: action.instance,
    request_id: action.requestId,
    user_id: action.user,
    project_id: action.project,
    start_time: micros(action.startedAtMs),
    updated_at: micros(action.finishedAtMs ?? action.startedAtMs),
    message: action.result === 'Error' ? 'Error' : null,
  }
}

/** GET /servers/{id}/os-instance-actions/{request id}: the only place of Nova's API that tells how a snapshot ended. */
export function shownActionWithEvents(action: InstanceAction) {
  const events = action.event && {
    event: action.event,
    start_time: micros(action.startedAtMs),
    finish_time: action.finishedAtMs === null ? null : micros(action.finishedAtMs),
    result: action.result,
    traceback: null,
    hostId: '',
    details: action.details,
  }
  return { ...shownAction(action), events: events ? [events] : [] }
}
