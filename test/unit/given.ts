import { show } from '../../shared/names.ts'
import type { Server } from '../../shared/ports/compute.ts'
import type { Image } from '../../shared/ports/images.ts'
import type { Lease, Leases } from '../../shared/ports/journal.ts'
import type { RbdImage, RbdSnap, RbdState, Volumes } from '../../shared/ports/volumes.ts'
import { defaultRules } from '../../shared/rules.ts'
import {
  messageVersion,
  type Consistency,
  type Disk,
  type Draft,
  type Message,
  type MessageOf,
  type RunStep,
  type Wish,
} from '../../shared/run.ts'
import { homeCluster, type Context, type Ports, type Settings } from '../../shared/step.ts'

/** What the tests of one step start from: a wish, its disk, and ports of which each test gives the few that it expects to be used. */
export const instance = '2ea85081-e9bb-4d02-8bc0-a7302c847e8c'
export const project = '13fcaa0fddb64917b16214698f0e086f'
export const base = '786433bf-5963-4434-97b9-492cb76182a5'
export const nowMs = Date.parse('2026-11-23T10:00:00Z')
export const gib = 1024 ** 3

export const tagWish: Wish = {
  run: 'aaaaaaaa-0000-5000-8000-000000000001',
  instance,
  project,
  image: 'bbbbbbbb-0000-5000-8000-000000000002',
  imageName: 'before-upgrade',
  trigger: { is: 'tag', tag: 'snapshot:before-upgrade', epoch: 0 },
  quiesce: 'auto',
  rule: 'tag',
  requestedAtMs: nowMs - 1_000,
}
export const takeOverWish: Wish = { ...tagWish, trigger: { is: 'take-over' }, rule: 'take-over' }

export const disk: Disk = { cluster: homeCluster, pool: 'vms', image: `${instance}_disk`, sizeBytes: gib }
export const source: RbdSnap = { pool: disk.pool, image: disk.image, snap: `rbdsnap-${tagWish.run}` }
export const volume: RbdImage = { pool: 'images', image: tagWish.image }
export const consistency: Consistency = { verdict: 'crash', why: 'no freeze was asked for', frozenMs: null }
export const snapped = { wish: tagWish, disk, consistency, why: [] }

export function server(more: Partial<Server> = {}): Server {
  return {
    id: instance,
    name: 'vm-clone',
    project,
    user: 'fb4f27fdd2d24feb9a89e4ba3b19baa7',
    vmState: 'active',
    taskState: null,
    host: 'compute-01',
    rootGib: 1,
    baseImage: base,
    tags: ['snapshot:before-upgrade'],
    ...more,
  }
}

export function image(more: Partial<Image> = {}): Image {
  return {
    id: tagWish.image,
    name: 'before-upgrade',
    status: 'queued',
    owner: project,
    isProtected: false,
    isPrivate: true,
    sizeBytes: null,
    virtualSizeBytes: null,
    checksum: null,
    createdAtMs: nowMs - 500,
    updatedAtMs: nowMs - 500,
    locations: [],
    stores: [],
    properties: { rbdsnap_run: tagWish.run, instance_uuid: instance },
    ...more,
  }
}

export function state(more: Partial<RbdState> = {}): RbdState {
  return { sizeBytes: gib, parent: null, snaps: [], hasUnlistedSnaps: false, ...more }
}

export function due<S extends RunStep>(draft: Draft<S>, sinceMs = nowMs): MessageOf<S> {
  return { v: messageVersion, hop: 1, tries: 0, sinceMs, ...draft } as unknown as MessageOf<S>
}

export function context(settings: Partial<Settings> = {}, clock = { nowMs: () => nowMs }): Context {
  return {
    clock,
    signal: new AbortController().signal,
    settings: {
      novaPool: 'vms',
      glancePool: 'images',
      freezeBudgetMs: 5_000,
      flattensAtOnce: 2,
      uploadFormat: 'raw',
      rules: defaultRules,
      ...settings,
    },
  }
}

type Given = { [K in Exclude<keyof Ports, 'clusters'>]?: Partial<Ports[K]> } & {
  home?: Partial<Volumes>
  others?: Record<string, Partial<Volumes>>
}

/** Ports with the methods given; any other call is an error of the test. `calls` tells who was called with what, in order. */
export function portsOf(given: Given): { ports: Ports; calls: string[] } {
  const calls: string[] = []
  const port = <T extends object>(name: string, methods: Partial<T> = {}): T =>
    new Proxy(methods as T, {
      get(target, key) {
        const method = Reflect.get(target, key) as unknown
        if (typeof method === 'string') return method
        return (...args: unknown[]) => {
          if (typeof method !== 'function') throw new TypeError(`${name}.${String(key)} was not expected`)
          calls.push([`${name}.${String(key)}`, ...args.flatMap(told)].join(' '))
          return (method as (...all: unknown[]) => unknown)(...args)
        }
      },
    })
  const others = Object.entries(given.others ?? {}).map(
    ([name, methods]) => [name, port<Volumes>(name, methods)] as const,
  )
  const ports: Ports = {
    compute: port('nova', given.compute),
    images: port('glance', given.images),
    clusters: { [homeCluster]: port<Volumes>('ceph', given.home), ...Object.fromEntries(others) },
    reader: port('reader', given.reader),
    guest: port('guest', given.guest),
    queue: port('queue', given.queue),
    journal: port('journal', given.journal),
    leases: port('leases', given.leases),
  }
  return { ports, calls }
}

function told(arg: unknown): string[] {
  if (arg instanceof AbortSignal || arg === undefined) return []
  if (Array.isArray(arg)) return [arg.length === 0 ? 'none' : arg.join()]
  if (typeof arg === 'string' || typeof arg === 'number' || typeof arg === 'boolean') return [String(arg)]
  if (typeof arg !== 'object' || arg === null) return []
  if ('pool' in arg && 'image' in arg) return [show(arg as RbdImage | RbdSnap)]
  if ('instance' in arg && 'host' in arg) return [String(arg.instance)]
  if ('step' in arg) return [(arg as Message).step]
  return []
}

/** Leases as the port promises them, in a map. */
export function leasesOf(...given: Lease[]): Leases & { of: (key: string) => Lease | undefined } {
  const kept = new Map(given.map((lease) => [lease.key, lease]))
  const put = (lease: Lease): Lease => {
    kept.set(lease.key, lease)
    return lease
  }
  return {
    of: (key) => kept.get(key),
    find: async (key) => kept.get(key) ?? null,
    frozen: async () => [...kept.values()].filter((lease) => lease.freeze !== null),
    async take(key, holder, now, untilMs) {
      const held = kept.get(key)
      if (!held) return put({ key, version: 1, holder, epoch: 1, untilMs, freeze: null, thawed: null })
      if (held.holder !== null && held.holder !== holder && held.untilMs > now) return null
      const epoch = held.holder === holder ? held.epoch : held.epoch + 1
      return put({ ...held, version: held.version + 1, holder, epoch, untilMs })
    },
    async save(lease) {
      if (kept.get(lease.key)?.version !== lease.version) return null
      return put({ ...lease, version: lease.version + 1 })
    },
  }
}

export const yes = async () => {}
export const gone = async () => null
