import { Failure } from './failures.ts'
import type { Guest } from './ports/guest.ts'
import type { Ports } from './step.ts'

/**
 * A function that was paused beyond its claim (a suspended host, a long garbage collection) wakes in the middle of a step that
 * another has finished since: what it looked at is no longer so. From then on it asks nobody for anything. The call that it
 * was in when it fell asleep is all that may still take effect, and each single one is harmless late, but for the removal of an
 * image: that one looks at the time itself before it goes out (shared/retention.ts).
 *
 * Not fenced: the journal and the leases, whose writes are refused by their version, and the thaw, which is always allowed.
 */
export function fenced(ports: Ports, mayAct: () => boolean): Ports {
  const around = <T extends object>(port: T, isFree: (method: string) => boolean = () => false): T =>
    new Proxy(port, {
      get(of, name: string) {
        const method: unknown = of[name as keyof T]
        if (typeof method !== 'function' || isFree(name)) return method
        return (...args: unknown[]): unknown => {
          if (!mayAct()) throw new Failure('TIMEOUT', `The claim was over before ${name} was asked for.`)
          return (method as (...all: unknown[]) => unknown).apply(of, args)
        }
      },
    })
  const { compute, images, clusters, reader, guest, queue, journal, leases } = ports
  return {
    compute: around(compute),
    images: around(images),
    clusters: Object.fromEntries(Object.entries(clusters).map(([name, volumes]) => [name, around(volumes)])),
    reader: around(reader),
    guest: around<Guest>(guest, (method) => method === 'thaw'),
    queue: around(queue),
    journal,
    leases,
  }
}
