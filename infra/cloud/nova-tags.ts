import type { Answer, Request } from './http.ts'
import type { NovaCore } from './nova-core.ts'
import { type Instance, NovaRefusal, type RequestContext } from './nova-instances.ts'

const mostTags = 50
const longestTag = 60
const states = ['active', 'paused', 'suspended', 'stopped']

/** /servers/{id}/tags and /servers/{id}/tags/{tag}, microversion 2.26 */
export function serverTags(
  nova: NovaCore,
  instance: Instance,
  tag: string | undefined,
  request: Request,
  body: unknown,
  context: RequestContext,
): Answer {
  const { id, tags } = instance
  const { method } = request
  if (method === 'GET') {
    if (tag === undefined) return { status: 200, body: { tags } }
    if (!tags.includes(tag)) throw new NovaRefusal(404, `Server ${id} has no tag '${tag}'`)
    return { status: 204 }
  }
  const verb = method === 'DELETE' ? 'delete' : 'update'
  if (!states.includes(instance.vmState))
    throw new NovaRefusal(409, `Cannot '${verb}' instance ${id} while it is in vm_state ${instance.vmState}`)
  const set = (next: string[]) => nova.save(id, { tags: next }, context, 'api-tags').tags

  if (method === 'PUT' && tag === undefined) return { status: 200, body: { tags: set(readTags(body)) } }
  if (method === 'PUT' && tag !== undefined) {
    checkTag(tag)
    if (tags.includes(tag)) return { status: 204 }
    if (tags.length >= mostTags)
      throw new NovaRefusal(400, `The number of tags exceeded the per-server limit ${mostTags}`)
    set([...tags, tag])
    const headers = { location: `http://${request.headers.host ?? ''}${request.path}` }
    return { status: 201, headers }
  }
  if (method === 'DELETE' && tag === undefined) {
    set([])
    return { status: 204 }
  }
  if (method === 'DELETE' && tag !== undefined) {
    if (!tags.includes(tag)) throw new NovaRefusal(404, `Server ${id} has no tag '${tag}'`)
    set(tags.filter((other) => other !== tag))
    return { status: 204 }
  }
  throw new NovaRefusal(405, 'The method specified is not allowed for this resource.')
}

function readTags(body: unknown): string[] {
  const { tags } = (body ?? {}) as { tags?: unknown }
  if (!Array.isArray(tags))
    throw new NovaRefusal(400, "Invalid input for field/attribute tags: 'tags' is a required property")
  if (tags.length > mostTags) throw new NovaRefusal(400, `The number of tags exceeded the per-server limit ${mostTags}`)
  for (const tag of tags) checkTag(tag)
  return [...new Set(tags as string[])]
}

function checkTag(tag: unknown): void {
  if (typeof tag !== 'string' || tag === '' || tag.length > longestTag || /[/,]/.test(tag))
    throw new NovaRefusal(
      400,
      `Invalid input for field/attribute tag. Value: ${String(tag)}. It must be 1 to ${longestTag} characters without '/' and ','`,
    )
}
