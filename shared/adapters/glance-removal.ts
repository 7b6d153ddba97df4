import type { Images, Removal } from '../ports/images.ts'
import { type GlanceCalls, imagePath } from './glance-calls.ts'
import { service } from './glance-image.ts'
import { refusal } from './http.ts'
import { quote } from './words.ts'

/** The one call that takes data from a tenant. Glance has no conditional DELETE. */
export function removal(calls: GlanceCalls): Images['remove'] {
  return async (id, mustBeSoon, signal): Promise<Removal> => {
    const what = `image ${id}`
    const answer = await calls.send({ what, method: 'DELETE', path: imagePath(id), mustBeSoon, signal })
    const why = `Glance answered ${String(answer.status)}: ${quote(answer.text)}`
    if (answer.status === 204) return { is: 'removed' }
    if (answer.status === 404) return { is: 'gone' }
    if (answer.status === 403) return { is: 'refused', why }
    if (answer.status === 409) return { is: 'busy', why }
    throw refusal(service, what, answer)
  }
}
