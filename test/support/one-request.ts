import type { Wire } from '../fakes/wire.ts'

/** A port's call on its way. */
export interface Asked {
  port: string
  name: string
  args: unknown[]
  act: (args: unknown[]) => Promise<unknown>
}

/** Where the requests of a call are seen: on the wire to Ceph and Glance, or the call is one request itself. */
export type Wired = Wire

/** Calls that change something with one request. */
const whole = new Set([
  'compute.ensureTagAbsent',
  'guest.freeze',
  'guest.hasHeld',
  'guest.thaw',
  'images.upload',
  'queue.send',
  'journal.reserve',
  'journal.save',
  'journal.park',
  'leases.take',
  'leases.save',
])

/** @param ask hears of each request before it is made, with what it would do; what it throws, the call fails with */
export async function theWire(
  { name, args, act }: Asked,
  wire: Wire,
  ask: (nth: number, act: () => void) => void,
): Promise<unknown> {
  if (!whole.has(name))
    return wire.during(
      (nth, late) => ask(nth, quietly(late)),
      () => act(args),
    )
  // The caller has given up by then; the service does not know.
  const late = args.map((arg) => (arg instanceof AbortSignal ? new AbortController().signal : arg))
  ask(0, () => void act(late).catch(() => undefined))
  return act(args)
}

/** Whatever the service answers, nobody hears it. */
function quietly(act: () => unknown): () => void {
  return () => {
    try {
      act()
    } catch {
      return
    }
  }
}
