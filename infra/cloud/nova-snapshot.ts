import { randomUUID } from 'node:crypto'
import { type Cluster, RbdError } from './cluster.ts'
import { GlanceRefusal } from './glance-images.ts'
import type { Token } from './keystone-tokens.ts'
import type { NovaCore } from './nova-core.ts'
import { convertDisk } from './nova-convert.ts'
import { type Instance, NovaException, type RequestContext } from './nova-instances.ts'

/** What one snapshot job works on. `who` is the user's own token: Nova talks to Glance with it. */
interface Job {
  nova: NovaCore
  id: string
  imageId: string
  who: Token
  context: RequestContext
}

interface Place {
  cluster: Cluster
  pool: string
  image: string
}

const event = 'compute_snapshot_instance'

/** nova/compute/manager.py `snapshot_instance` with its decorators: a failure deletes the image, then resets the task state. */
export async function snapshotInstance(job: Job): Promise<void> {
  const { nova, id, context } = job
  try {
    await manage(job)
    nova.endAction(context, event, null)
  } catch (error) {
    if (nova.isClosed()) return
    const shown = asException(error, job.imageId)
    await deleteImageOnError(job)
    nova.endAction(context, event, shown)
    const now = nova.instances.get(id)
    if (!now || now.vmState === 'deleted') return
    const isOurs = now.taskState?.startsWith('image_') ?? false
    const after = isOurs ? nova.save(id, { taskState: null }, context) : now
    nova.notify.snapshotFailed(after, job.imageId, shown, context)
  }
}

/** `_snapshot_instance` */
async function manage(job: Job): Promise<void> {
  const { nova, id, imageId, who } = job
  await nova.phase('start')
  nova.setTask(id, ['image_snapshot_pending'], 'image_snapshot', job.context)
  const elevated = { ...job.context, roles: [...new Set([...job.context.roles, 'admin'])] }
  const started = nova.setTask(id, ['image_snapshot'], 'image_snapshot', job.context)
  nova.notify.action(started, 'snapshot.start', elevated, imageId)
  try {
    await drive(job, started)
    await nova.phase('end')
    const ended = nova.setTask(id, ['image_uploading'], null, job.context)
    nova.notify.action(ended, 'snapshot.end', elevated, imageId)
  } catch (error) {
    const is = asException(error, imageId).is
    if (is === 'ImageNotFound') {
      // the owner deleted the image meanwhile: said in the log only, no snapshot.end and no exception
      nova.save(id, { taskState: null }, job.context)
      return
    }
    if (is !== 'InstanceNotFound' && is !== 'UnexpectedDeletingTaskStateError') throw error
    const image = nova.glance.all().find((candidate) => candidate.id === imageId)
    if (image?.status !== 'active') await nova.glance.remove(who, imageId).catch(() => undefined)
  }
}

/** nova/virt/libvirt/driver.py `snapshot` */
async function drive(job: Job, instance: Instance): Promise<void> {
  const { nova, id, imageId, context } = job
  fromGlance(imageId, () => nova.glance.show(job.who, imageId))
  nova.setTask(id, ['image_snapshot'], 'image_pending_upload', context)
  nova.setTask(id, ['image_pending_upload'], 'image_uploading', context)
  let made: { url: string; place: Place } | null = null
  try {
    made = await directSnapshot(job, instance)
    await nova.phase('register')
    await describe(job, instance)
    await patch(job, [{ op: 'add', path: '/locations/-', value: { url: made.url, metadata: {} } }])
  } catch (error) {
    if (made) await dropSnapAndVolume(made.place)
    if (!isUnsuited(error)) throw error
    nova.setTask(id, ['image_uploading'], 'image_pending_upload', context)
    await longWay(job, instance)
  }
}

/** Only these lead to the long way (driver.py 3040); Glance's refusal of a location is ImageNotAuthorized and does not. */
function isUnsuited(error: unknown): boolean {
  if (error instanceof RbdError) return error.errno === 1 || error.errno === 13
  return error instanceof NovaException && ['NotImplementedError', 'ImageUnacceptable', 'Forbidden'].includes(error.is)
}

/** nova/virt/libvirt/imagebackend.py `Rbd.direct_snapshot`: no freeze, and the flatten is in it. */
async function directSnapshot(job: Job, instance: Instance): Promise<{ url: string; place: Place }> {
  const { nova, imageId } = job
  const { disk } = instance
  const cluster = nova.clusters[disk.cluster]
  const pool = parentPool(nova, instance, cluster)
  const snap = randomUUID().replaceAll('-', '')
  await nova.phase('snapshot')
  await cluster.snapCreate(disk.pool, disk.image, snap)
  cluster.snapProtect(disk.pool, disk.image, snap)
  try {
    await nova.phase('clone')
    cluster.clone({ pool: disk.pool, image: disk.image, snap }, { pool, image: imageId })
    await nova.phase('flatten')
    await cluster.flatten(pool, imageId)
  } finally {
    if (!nova.isClosed()) {
      cluster.snapUnprotect(disk.pool, disk.image, snap)
      await cluster.snapRemove(disk.pool, disk.image, snap)
    }
  }
  await cluster.snapCreate(pool, imageId, 'snap')
  cluster.snapProtect(pool, imageId, 'snap')
  return { url: `rbd://${cluster.fsid}/${pool}/${imageId}/snap`, place: { cluster, pool, image: imageId } }
}

/** `_get_parent_pool`: of the disk's parent, else of the base image's first location in the same cluster. */
function parentPool(nova: NovaCore, instance: Instance, cluster: Cluster): string {
  const { disk, imageId } = instance
  const parent = cluster.info(disk.pool, disk.image).parent
  if (parent) return parent.pool
  const base = nova.glance.all().find((image) => image.id === imageId && image.status === 'active')
  const [fsid, pool] = base?.locations[0]?.url.replace('rbd://', '').split('/') ?? []
  if (fsid !== cluster.fsid || !pool)
    throw new NovaException('ImageUnacceptable', 'Cannot determine the parent storage pool')
  return pool
}

/** `cleanup_direct_snapshot(also_destroy_volume=True, ignore_errors=True)` of the registered snapshot */
async function dropSnapAndVolume({ cluster, pool, image }: Place): Promise<void> {
  try {
    cluster.snapUnprotect(pool, image, 'snap')
    await cluster.snapRemove(pool, image, 'snap')
    cluster.remove(pool, image)
  } catch (error) {
    if (!(error instanceof RbdError)) throw error
  }
}

/** The guest is suspended for the whole qemu-img convert and resumed before the upload. */
async function longWay(job: Job, instance: Instance): Promise<void> {
  const { nova, id, context } = job
  const wasUp = nova.guests.find(id)?.state
  if (wasUp && wasUp !== 'off') nova.guests.setState(id, 'suspended')
  const file = await convertDisk(nova, instance).finally(() => {
    if (!nova.isClosed() && wasUp) nova.guests.setState(id, wasUp)
  })
  try {
    nova.setTask(id, ['image_pending_upload'], 'image_uploading', context)
    await nova.phase('upload')
    await describe(job, instance)
    await nova.glance.upload(job.who, job.imageId, file.bytes(), file.sizeBytes).catch((error: unknown) => {
      throw asException(error, job.imageId)
    })
  } finally {
    await file.remove()
  }
}

/** The metadata that `_create_snapshot_metadata` gives, in a PATCH of its own before the location or the data. */
function describe(job: Job, instance: Instance): Promise<void> {
  const properties = { image_location: 'snapshot', image_state: 'available', owner_id: instance.project }
  const fields = {
    ...properties,
    disk_format: 'raw',
    container_format: instance.imageProps['container_format'] ?? 'bare',
  }
  return patch(
    job,
    Object.entries(fields).map(([name, value]) => ({ op: 'add', path: `/${name}`, value })),
  )
}

async function patch({ nova, who, imageId }: Job, operations: unknown[]): Promise<void> {
  await nova.glance.patch(who, imageId, operations, 'public').catch((error: unknown) => {
    throw asException(error, imageId)
  })
}

/** compute/manager.py `delete_image_on_error`: what Glance refuses, a protected image above all, is logged and left. */
async function deleteImageOnError({ nova, who, imageId }: Job): Promise<void> {
  await nova.glance.remove(who, imageId).catch((error: unknown) => {
    if (!(error instanceof GlanceRefusal)) throw error
  })
}

function fromGlance<T>(imageId: string, call: () => T): T {
  try {
    return call()
  } catch (error) {
    throw asException(error, imageId)
  }
}

/** nova/image/glance.py `_translate_image_exception`, and librbd's errors by their Python names. */
function asException(error: unknown, imageId: string): NovaException {
  if (error instanceof NovaException) return error
  if (error instanceof GlanceRefusal) {
    if (error.status === 404 || error.status === 410)
      return new NovaException('ImageNotFound', `Image ${imageId} could not be found.`)
    if (error.status === 401 || error.status === 403)
      return new NovaException('ImageNotAuthorized', `Not authorized for image ${imageId}.`)
    if (error.status === 413)
      return new NovaException('ImageQuotaExceeded', `Quota exceeded or out of space for image ${imageId}`)
    return new NovaException('ImageBadRequest', `Request of image ${imageId} got BadRequest response: ${error.message}`)
  }
  const names: Record<number, string> = {
    2: 'ImageNotFoundInRbd',
    16: 'ImageBusy',
    17: 'ImageExists',
    38: 'FunctionNotSupported',
  }
  if (error instanceof RbdError)
    return new NovaException(names[error.errno] ?? 'Error', `[errno ${String(error.errno)}] ${error.message}`)
  return new NovaException('InternalError', String(error))
}
