import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { gunzipSync } from 'node:zlib'
import { ingest } from '../../../functions/ingest.ts'
import { driveIngest } from '../../../shared/drive-ingest.ts'
import { hear as trueHear } from '../../../shared/notification.ts'
import { message, messageVersion, type MessageOf } from '../../../shared/run.ts'
import { makeWorld } from '../../fakes/world.ts'
import type { Captured } from '../../replay/pack.ts'
import { ids } from '../calls.ts'
import { holds, type Target } from '../target.ts'

/**
 * A body on the bus, as text and as bytes, through the door and through ingest in a cloud with two projects: it is heard or parked,
 * and no run begins but for a server that bears the wish, in the name of the project that has it.
 */
export function notificationTarget(hear = trueHear): Target {
  return {
    name: 'notification',
    covers: [
      'shared/notification.ts',
      'shared/blacken.ts',
      'shared/rules.ts',
      'shared/drive-ingest.ts',
      'functions/ingest.ts',
      'shared/choose-image.ts',
    ],
    seeds,
    async feed(input) {
      const heard = hear(input)
      const fromBytes = hear(Buffer.from(input))
      holds(heard.is === fromBytes.is, `as text it is ${heard.is}, as bytes ${fromBytes.is}`)
      const first: MessageOf<'ingest'> = { v: messageVersion, step: 'ingest', tries: 0, heard }
      const isTaken = message.safeParse(JSON.parse(JSON.stringify(first))).success
      holds(isTaken, 'the first queue would not take it')
      const world = theWorld()
      const { ports, settings, clock, store } = world
      const { says, failure } = await driveIngest(first, ingest, ports, {
        clock,
        settings,
        signal: new AbortController().signal,
      })
      holds(failure?.code !== 'UNKNOWN', `ingest: ${store.parked().at(-1)?.words}`)
      for (const { wish, outcome } of store.runs().filter((run) => run.outcome === null)) {
        const server = world.servers.get(wish.instance)
        holds(server?.project === wish.project, `run ${wish.run} (${outcome}) of ${wish.project} is of another project`)
        const image = world.glance.images.get(wish.image)
        holds(!image || image.owner === wish.project, `run ${wish.run} has the image of ${image?.owner}`)
      }
      return heard.is === 'unreadable' ? heard.why.slice(0, 80) : shapeOf(says, failure?.code)
    },
  }
}

function shapeOf(says: string, code = ''): string {
  return `${says.replace(/[0-9a-f]{8}-[0-9a-f-]{27}/g, 'RUN')} ${code}`
}

/** A server with tags and a queued image of Nova's, and another project's. */
function theWorld() {
  const world = makeWorld()
  for (const [id, project] of [
    [ids.instance, ids.project],
    ['00000000-0000-4000-8000-00000000000b', 'another-project'],
  ] as const) {
    world.servers.set(id, { ...template, id, project, tags: ['snapshot', 'snapshot:x', 'snapshot:../x', 'gold'] })
  }
  const properties = { instance_uuid: ids.instance }
  world.glance.create('nova', { id: ids.image, owner: ids.project, name: 'n', properties, status: 'queued' })
  world.glance.create('nova', { id: foreign, owner: 'another-project', name: 'n', properties, status: 'queued' })
  return world
}
const foreign = '00000000-0000-4000-9000-00000000000b'
const template = {
  name: 's',
  user: 'u',
  vmState: 'active',
  taskState: null,
  host: 'compute-01',
  rootGib: 1,
  baseImage: null,
}

function seeds(): string[] {
  const root = join(import.meta.dirname, '../../..')
  const events = readdirSync(join(root, 'events')).filter((name) => name.endsWith('.json'))
  const own = events
    .sort()
    .map((name) => JSON.parse(readFileSync(join(root, 'events', name), 'utf8')) as { body: unknown })
  const captures = gunzipSync(readFileSync(join(root, 'test/replay/captured.ndjson.gz'))).toString()
  const lines = captures.trimEnd().split('\n')
  const oneOfAKind = new Map(lines.map((line) => JSON.parse(line) as Captured).map((c) => [kindOf(c), c.body]))
  const tagged = { uuid: ids.instance, tenant_id: ids.project, tags: ['snapshot', 'snapshot:x'] }
  const update = {
    event_type: 'instance.update',
    message_id: 'm',
    timestamp: '2026-11-23 01:21:31.481266',
    payload: { 'nova_object.data': tagged },
  }
  return [
    ...own.map(({ body }) => JSON.stringify(body)),
    ...[...oneOfAKind.values()].map((body) => JSON.stringify(body)),
    JSON.stringify(update),
    JSON.stringify({ ...update, payload: { 'nova_object.data': { ...tagged, tenant_id: 'another-project' } } }),
  ]
}

/** Of each event in each format. */
const kindOf = ({ file, body }: Captured) =>
  `${file.split('/')[0]} ${(JSON.parse(body['oslo.message']) as { event_type: string }).event_type}`
