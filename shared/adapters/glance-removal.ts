import type { Images, Removal } from '../ports/images.ts'
import { whatKeeps } from '../retention.ts'
import { type GlanceCalls, imagePath } from './glance-calls.ts'
import { service } from './glance-image.ts'
import { refusal } from './http.ts'
import { quote } from './words.ts'

/** The one call that takes data from a tenant. Glance has no conditional DELETE: the image is looked at as late as can be. */
export function removal(calls: GlanceCalls): Images['ensureAbsent'] {
  return async (id, made, signal): Promise<Removal> => {
    const image = await calls.find(id, signal)
    if (!image || image.status === 'deleted' || image.status === 'pending_delete') return { is: 'absent' }
    const why = whatKeeps(image, made)
    if (why !== null) return { is: 'kept', why }
    const what = `image ${id}`
    const answer = await calls.send({ what, method: 'DELETE', path: imagePath(id), signal })
    if (answer.status === 204 || answer.status === 404) return { is: 'absent' }
    // protected since we looked, or by a policy of the site; in use: its snapshot has a clone, or somebody reads it
    if (answer.status === 403 || answer.status === 409)
      return { is: 'kept', why: `Glance answered ${String(answer.status)}: ${quote(answer.text)}` }
    throw refusal(service, what, answer)
  }
}
