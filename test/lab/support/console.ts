/** What the lab's guest (infra/lab/guest/init) says on its console, as its tenant can read it. */

/** It writes its heartbeat to its disk. */
export const guestWrites = /GUEST heartbeat \d+/
/** It is up, and has looked for what its disk has from before. */
export const guestIsUp = /GUEST up, heartbeat (?<count>\d+) found/

/** The heartbeat that the guest found when it booted last: the instant that its disk was taken at. */
export function heartbeatFound(console: string): number | null {
  const count = [...console.matchAll(new RegExp(guestIsUp, 'g'))].at(-1)?.groups?.['count']
  return count === undefined ? null : Number(count)
}
