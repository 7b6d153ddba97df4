import { pipeline } from './pipeline.ts'
import type { Image } from './ports/images.ts'

/**
 * An image whose Glance died in the middle of its upload stays `saving` for ever: it takes no other upload (409), and nobody ever says
 * that this one is over. A Glance that lives puts it back to `queued` as soon as whoever uploads is gone.
 *
 * None of our functions is at one for longer than its own time. The five minutes besides are for two clocks, and for what Glance
 * itself has to do behind the last byte.
 */
const mostMs = pipeline.fallback.timeoutMs + 300_000

export function isDeadUpload({ status, updatedAtMs }: Image, nowMs: number): boolean {
  return status === 'saving' && nowMs - updatedAtMs > mostMs
}
