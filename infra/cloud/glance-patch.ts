import {
  checkSettable,
  GlanceRefusal,
  hasField,
  type ImageRow,
  isAdmin,
  setField,
  unsetField,
  type Who,
} from './glance-images.ts'
import { addLocation, removeLocation } from './glance-locations.ts'
import type { RbdStore } from './glance-store.ts'

export interface PatchOp {
  op: string
  path: string
  value?: unknown
}

/**
 * Applies a JSON patch to `image`, a copy that the caller keeps only when every operation went well.
 * What it gives are the locations taken off: their data is to be deleted before the copy is kept.
 */
export function applyPatch(
  image: ImageRow,
  body: unknown,
  context: { who: Who; store: RbdStore; showsLocations: boolean },
): string[] {
  const dropped: string[] = []
  for (const operation of readOps(body)) {
    const [name = '', index] = operation.path
      .slice(1)
      .split('/')
      .map((part) => part.replaceAll('~1', '/').replaceAll('~0', '~'))
    if (name === 'locations') dropped.push(...patchLocations(image, operation, index, context))
    else if (index === undefined) patchField(image, operation, name, context.who)
    else throw new GlanceRefusal(400, `Invalid JSON pointer for this resource: '${operation.path}'`)
  }
  return dropped
}

function readOps(body: unknown): PatchOp[] {
  if (!Array.isArray(body)) throw new GlanceRefusal(400, 'Request body must be a JSON array of operation objects.')
  return body.map((candidate: unknown) => {
    const { op, path } = (candidate ?? {}) as Partial<PatchOp>
    if (typeof op !== 'string' || !['add', 'replace', 'remove'].includes(op))
      throw new GlanceRefusal(400, 'Operations must be JSON objects with a valid `op`: add, replace or remove.')
    if (typeof path !== 'string' || !path.startsWith('/') || path.length < 2)
      throw new GlanceRefusal(400, `Pointer \`${String(path)}\` does not start with "/".`)
    if (op !== 'remove' && !('value' in (candidate as object)))
      throw new GlanceRefusal(400, 'Operation "value" is required.')
    return candidate as PatchOp
  })
}

function patchField(image: ImageRow, { op, value }: PatchOp, name: string, who: Who): void {
  if (op === 'remove') {
    if (!unsetField(image, name)) throw new GlanceRefusal(409, `Property ${name} does not exist.`)
    return
  }
  checkSettable(name)
  if (op === 'replace' && !hasField(image, name)) throw new GlanceRefusal(409, `Property ${name} does not exist.`)
  if (name === 'owner' && !isAdmin(who) && value !== image.owner)
    throw new GlanceRefusal(403, "You are not permitted to modify 'owner' on this image.")
  if (name === 'visibility' && value === 'public' && !isAdmin(who))
    throw new GlanceRefusal(403, 'You are not authorized to complete publicize_image action.')
  setField(image, name, value)
}

function patchLocations(
  image: ImageRow,
  { op, value }: PatchOp,
  index: string | undefined,
  { store, showsLocations }: { store: RbdStore; showsLocations: boolean },
): string[] {
  const deed = op === 'add' ? 'add' : op === 'remove' ? 'remove' : 'replace'
  if (!showsLocations) throw new GlanceRefusal(403, `It's not allowed to ${deed} locations if locations are invisible.`)
  if (!['active', 'queued'].includes(image.status))
    throw new GlanceRefusal(409, `It's not allowed to ${deed} locations if image status is ${image.status}.`)
  if (op === 'remove') return [removeLocation(image, index)]
  if (op === 'add') addLocation(image, value, index, store)
  else replaceLocations(image, value, store)
  return []
}

function replaceLocations(image: ImageRow, value: unknown, store: RbdStore): void {
  if (!Array.isArray(value)) throw new GlanceRefusal(400, 'Invalid locations')
  if (value.length === 0) throw new GlanceRefusal(403, 'Cannot set locations to empty list.')
  if (image.locations.length > 0)
    throw new GlanceRefusal(403, 'Cannot replace locations from a non-empty list to a non-empty list.')
  for (const location of value) addLocation(image, location, '-', store)
}
