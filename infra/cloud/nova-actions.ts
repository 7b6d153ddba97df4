import type { Token } from './keystone-tokens.ts'
import type { NovaCore } from './nova-core.ts'
import { type Instance, NovaRefusal, type RequestContext } from './nova-instances.ts'
import { snapshotInstance } from './nova-snapshot.ts'
import type { Guest } from './guests.ts'

interface PowerAction {
  from: string[]
  task: string
  to: string
  power: Instance['powerState']
  /** as in instance.<event>.start */
  event: string
  guest: Guest['state']
}

export const powerActions: Record<string, PowerAction> = {
  'os-stop': {
    from: ['active', 'error'],
    task: 'powering-off',
    to: 'stopped',
    power: 4,
    event: 'power_off',
    guest: 'off',
  },
  'os-start': { from: ['stopped'], task: 'powering-on', to: 'active', power: 1, event: 'power_on', guest: 'running' },
  pause: { from: ['active'], task: 'pausing', to: 'paused', power: 3, event: 'pause', guest: 'paused' },
  unpause: { from: ['paused'], task: 'unpausing', to: 'active', power: 1, event: 'unpause', guest: 'running' },
  suspend: { from: ['active'], task: 'suspending', to: 'suspended', power: 4, event: 'suspend', guest: 'suspended' },
  resume: { from: ['suspended'], task: 'resuming', to: 'active', power: 1, event: 'resume', guest: 'running' },
}

const snapshotStates = ['active', 'stopped', 'paused', 'suspended']

/** nova.compute.api `check_instance_state` */
function check(instance: Instance, action: string, states: string[]): void {
  const { id, vmState, taskState } = instance
  const busy = taskState === null ? null : `task_state ${taskState}`
  const wrong = states.includes(vmState) ? busy : `vm_state ${vmState}`
  if (wrong) throw new NovaRefusal(409, `Cannot '${action}' instance ${id} while it is in ${wrong}`)
}

export function startPowerAction(nova: NovaCore, instance: Instance, name: string, context: RequestContext): void {
  const action = powerActions[name]
  if (!action) throw new NovaRefusal(400, `There is no such action: ${name}`)
  check(instance, name, action.from)
  nova.beginAction(instance.id, name.replace('os-', ''), context)
  nova.save(instance.id, { taskState: action.task }, context, 'api')
  nova.background(() => finishPowerAction(nova, instance.id, action, context))
}

export async function finishPowerAction(nova: NovaCore, id: string, action: PowerAction, context: RequestContext) {
  nova.notify.action(nova.get(id), `${action.event}.start`, context)
  await new Promise((resolve) => setImmediate(resolve))
  nova.guests.setState(id, action.guest)
  const done = nova.save(id, { vmState: action.to, powerState: action.power, taskState: null }, context)
  nova.notify.action(done, `${action.event}.end`, context)
  nova.endAction(context, `compute_${action.event}`, null)
}

/** nova-api makes the queued image, with everything that the base image passes on but its formats, and casts to the compute. */
export function createImage(
  nova: NovaCore,
  instance: Instance,
  wish: { name: string; metadata: Record<string, string> },
  who: Token,
  context: RequestContext,
): string {
  check(instance, 'createImage', snapshotStates)
  const image = nova.glance.create(who, snapshotRecord(instance, wish, who))
  nova.beginAction(instance.id, 'createImage', context)
  nova.save(instance.id, { taskState: 'image_snapshot_pending' }, context, 'api')
  nova.background(() => snapshotInstance({ nova, id: instance.id, imageId: image.id, who, context }))
  return image.id
}

/** min_disk is the flavor's; the other SM_INHERITABLE_KEYS are set by whoever brings the data. */
export function snapshotRecord(
  instance: Instance,
  wish: { name: string; metadata: Record<string, string> },
  who: Pick<Token, 'userId' | 'userName' | 'projectName' | 'roles'>,
): Record<string, unknown> {
  const own = ['disk_format', 'container_format', 'min_disk', 'min_ram']
  return {
    name: wish.name,
    visibility: 'private',
    min_disk: instance.flavor.rootGib,
    min_ram: 0,
    ...Object.fromEntries(Object.entries(instance.imageProps).filter(([name]) => !own.includes(name))),
    owner_user_name: who.userName,
    owner_project_name: who.projectName,
    boot_roles: who.roles.join(','),
    image_type: 'snapshot',
    instance_uuid: instance.id,
    user_id: who.userId,
    ...wish.metadata,
  }
}
