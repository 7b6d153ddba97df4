import { readFileSync } from 'node:fs'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { hear, maxBodyBytes } from '../../shared/notification.ts'
import { message, messageVersion, type Heard, type Notification } from '../../shared/run.ts'

const envelopeOf = (file: string): { 'oslo.message': string } =>
  (
    JSON.parse(readFileSync(new URL(`../../events/${file}`, import.meta.url), 'utf8')) as {
      body: { 'oslo.message': string }
    }
  ).body
const wire = envelopeOf('11-instance.snapshot.start.versioned.json')
const snapshotStart: Notification = {
  is: 'notification',
  format: 'versioned',
  eventType: 'instance.snapshot.start',
  event: 'instance.snapshot.start',
  messageId: 'f00c4350-439b-4c68-b459-69382144d6b2',
  atMs: Date.parse('2026-11-23T01:21:31.507Z'),
  instance: '2ea85081-e9bb-4d02-8bc0-a7302c847e8c',
  project: '13fcaa0fddb64917b16214698f0e086f',
  image: '56813989-0617-48bf-bca3-9bbe9caca90f',
  tags: null,
}

const legacy = (eventType: string, payload: unknown = {}, more: object = {}) => ({
  event_type: eventType,
  message_id: 'm',
  timestamp: '2026-11-23 01:21:31.481266',
  payload,
  ...more,
})
const versioned = (data: unknown, more: object = {}) => legacy('instance.update', { 'nova_object.data': data }, more)

function read(body: unknown): Notification {
  const heard = hear(body)
  if (heard.is !== 'notification') throw new Error(`unexpected: ${JSON.stringify(heard)}`)
  return heard
}
function whyNot(body: unknown): string {
  const heard = hear(body)
  if (heard.is !== 'unreadable') throw new Error(`unexpected: ${JSON.stringify(heard)}`)
  return heard.why
}

describe('a notification', () => {
  it('comes out as the few facts that concern us', () => {
    expect(hear(wire)).toEqual(snapshotStart)
  })

  it.each<[string, unknown]>([
    ['bytes', Buffer.from(JSON.stringify(wire))],
    ['text', JSON.stringify(wire)],
    ['the inner message, parsed', JSON.parse(wire['oslo.message'])],
    ['the inner message, as text', wire['oslo.message']],
  ])('is the same when it comes as %s', (_how, body) => {
    expect(hear(body)).toEqual(snapshotStart)
  })

  it('in the legacy form has the same event name and instance, and no image', () => {
    const heard = read(envelopeOf('10-compute.instance.snapshot.start.legacy.json'))
    expect(heard).toMatchObject({ format: 'legacy', eventType: 'compute.instance.snapshot.start' })
    expect(heard).toMatchObject({
      event: snapshotStart.event,
      instance: snapshotStart.instance,
      image: null,
      tags: null,
    })
  })

  it.each([
    ['compute.instance.update', 'instance.update'],
    ['compute.instance.finish_resize.end', 'instance.resize_finish.end'],
    ['compute.instance.resize.prep.start', 'instance.resize_prep.start'],
    ['compute.instance.resize.confirm.end', 'instance.resize_confirm.end'],
    ['compute.instance.resize.start', 'instance.resize.start'],
    ['compute.instance.rebuild.scheduled', 'instance.rebuild_scheduled'],
    ['compute.instance.live_migration.pre.end', 'instance.live_migration_pre.end'],
    ['compute.instance.live_migration._post.start', 'instance.live_migration_post.start'],
    ['compute.instance.live_migration.post.dest.start', 'instance.live_migration_post_dest.start'],
    ['compute.instance.live.migration.abort.end', 'instance.live_migration_abort.end'],
    ['snapshot_instance', 'compute.exception'],
    ['scheduler.select_destinations.start', 'scheduler.select_destinations.start'],
    // names that every object of JavaScript has
    ['constructor', 'constructor'],
    ['__proto__', '__proto__'],
    ['compute.instance.toString', 'instance.toString'],
  ])('called %s is %s in the versioned form', (eventType, event) => {
    expect(read(legacy(eventType)).event).toBe(event)
  })

  it('of a failed call names the instance and the image that the call was about', () => {
    expect(read(envelopeOf('40-snapshot_instance.legacy.json'))).toMatchObject({
      event: 'compute.exception',
      instance: snapshotStart.instance,
      project: snapshotStart.project,
      image: 'd63c6383-9d03-4790-a79f-6dd7112ae4a8',
    })
  })

  it('without tags is not one with an empty list of them', () => {
    expect(read(versioned({})).tags).toBeNull()
    expect(read(versioned({ tags: [] })).tags).toEqual([])
  })

  it('names its instance in small letters, however the sender writes them', () => {
    const uuid = '2EA85081-E9BB-4D02-8BC0-A7302C847E8C'
    expect(read(versioned({ uuid })).instance).toBe(uuid.toLowerCase())
    expect(read(legacy('compute.instance.update', { instance_id: uuid })).instance).toBe(uuid.toLowerCase())
    const failed = legacy('snapshot_instance', { args: { instance: { uuid }, image_id: uuid } })
    expect([read(failed).instance, read(failed).image]).toEqual([uuid.toLowerCase(), uuid.toLowerCase()])
  })

  it.each([
    ['2026-11-23 01:21:31.481266', '2026-11-23T01:21:31.481Z'],
    ['2026-11-23 01:21:31', '2026-11-23T01:21:31.000Z'],
    ['2026-11-23T01:21:31.5Z', '2026-11-23T01:21:31.500Z'],
  ])('of %s, which Nova means as UTC, happened at %s', (timestamp, at) => {
    expect(new Date(read(legacy('x', {}, { timestamp })).atMs).toISOString()).toBe(at)
  })
})

describe('a body that cannot be read', () => {
  it.each<[string, unknown, RegExp]>([
    ['is cut short', JSON.stringify(wire).slice(0, 900), /^not JSON$/],
    ['is empty', '', /^not JSON$/],
    ['is not JSON inside its envelope', { 'oslo.version': '2.0', 'oslo.message': '{' }, /^not JSON$/],
    ['has no text in its envelope', { 'oslo.message': { event_type: 'x' } }, /oslo\.message is not text/],
    ['is larger than 1 MiB', `"${'x'.repeat(maxBodyBytes)}"`, /larger than 1048576 bytes/],
    ['is larger than 1 MiB as bytes', Buffer.alloc(maxBodyBytes + 1, 'x'), /larger than 1048576 bytes/],
    ['is nested a hundred thousand deep', '['.repeat(100_000), /nested deeper than 64/],
    ['is a list', [legacy('x')], /^body/],
    ['is null', null, /^body/],
    ['is undefined', undefined, /^body/],
    ['has no event type', legacy(''), /^event_type/],
    ['has a number for its event type', { ...legacy('x'), event_type: 7 }, /^event_type/],
    ['has an endless event type', legacy('x'.repeat(256)), /^event_type/],
    ['has no message id', { ...legacy('x'), message_id: null }, /^message_id/],
    ['has a time that is none', legacy('x', {}, { timestamp: 'yesterday' }), /timestamp is not a time/],
    ['is older than time', legacy('x', {}, { timestamp: '1969-12-31 23:59:59' }), /timestamp is not a time/],
    ['has an instance that is no UUID', versioned({ uuid: "'; DROP TABLE run; --" }), /nova_object\.data\.uuid/],
    [
      'has a legacy instance that is a path',
      legacy('compute.instance.update', { instance_id: '../../x' }),
      /instance_id/,
    ],
    ['has tags that are no list', versioned({ tags: 'snapshot' }), /tags/],
    ['has tags that are no texts', versioned({ tags: [{}] }), /tags/],
    ['has no payload for an instance', legacy('compute.instance.update', 'text'), /^payload|^body/],
  ])('because it %s says so', (_what, body, why) => {
    expect(whyNot(body)).toMatch(why)
  })

  it('keeps the beginning of its text, and says how long it was', () => {
    const heard = hear('x'.repeat(20_000)) as Extract<Heard, { is: 'unreadable' }>
    expect(heard.text).toBe(`${'x'.repeat(16_384)} (20000 characters in all)`)
  })

  it('keeps no secret, also where its text is cut through one', () => {
    const secret = 'c0rrect-horse'
    for (const before of [16_300, 16_370, 16_380]) {
      const heard = hear(`${' '.repeat(before)}rabbit://nova:${secret}@controller-01/`)
      expect(JSON.stringify(heard)).not.toContain(secret.slice(0, 5))
    }
  })

  it('does not quote the place of the fault, which may be a secret', () => {
    expect(JSON.stringify(hear('{"admin_pass": hunter2}'))).not.toContain('hunter2')
    expect(JSON.stringify(hear('{"admin_pass": "hunter2'))).not.toContain('hunter2')
  })
})

describe('whatever is put on the bus', () => {
  const anything = fc.oneof(
    fc.anything(),
    fc.string(),
    fc.json(),
    fc.uint8Array(),
    fc.json().map((j) => Buffer.from(j)),
  )
  const almost = fc
    .record(
      {
        event_type: fc.oneof(
          fc.string(),
          fc.constantFrom('instance.update', 'compute.instance.update', 'snapshot_instance'),
        ),
        message_id: fc.oneof(fc.string(), fc.uuid()),
        timestamp: fc.oneof(
          fc.constant('2026-11-23 01:21:31.481266'),
          fc.string(),
          fc.date({ noInvalidDate: true }).map(String),
        ),
        payload: fc.oneof(
          fc.jsonValue(),
          fc.record({
            'nova_object.data': fc.oneof(
              fc.jsonValue(),
              fc.record({
                uuid: fc.oneof(fc.uuid(), fc.jsonValue()),
                tags: fc.oneof(fc.array(fc.string()), fc.jsonValue()),
              }),
            ),
          }),
          fc.record({ args: fc.record({ instance: fc.jsonValue(), image_id: fc.jsonValue() }) }),
        ),
      },
      { requiredKeys: [] },
    )
    .map((inner): unknown => ({ 'oslo.version': '2.0', 'oslo.message': JSON.stringify(inner) }))

  it('is heard without an exception, and comes out as something that the first queue accepts', () => {
    fc.assert(
      fc.property(fc.oneof(anything, almost), (body) => {
        const heard = JSON.parse(JSON.stringify(hear(body))) as unknown
        message.parse({ v: messageVersion, step: 'ingest', tries: 0, heard })
      }),
      { numRuns: 500 },
    )
  })

  it('gives away no secret that is planted in it, whole, cut short or spoilt', () => {
    const secret = 'S3cr3tS3cr3tS3cr3t'
    const planted = fc.constantFrom(
      'auth_token',
      '_context_auth_token',
      'adminPass',
      'password',
      'user_data',
      'X-Auth-Token',
      'secret',
    )
    const { tree } = fc.letrec<{ tree: unknown; leaf: unknown }>((tie) => ({
      tree: fc.oneof(
        { depthSize: 'small' },
        tie('leaf'),
        fc.dictionary(fc.oneof(fc.string(), planted), tie('tree'), { maxKeys: 4 }),
      ),
      leaf: fc.oneof(fc.string(), fc.integer(), fc.constant(null)),
    }))
    const body = fc.record({
      inner: fc.record({
        event_type: fc.constant('compute.instance.update'),
        payload: tree,
        _context_auth_token: fc.constant(secret),
      }),
      nested: fc.tuple(
        planted,
        fc.constantFrom(secret, [secret], { value: secret }, `a"${secret}`, `a\\${secret}`, `a\\"${secret}`),
      ),
      isEnveloped: fc.boolean(),
      cutAt: fc.nat(600),
      spoilt: fc.constantFrom('', '}', '"', '\\', '\u0000'),
    })
    fc.assert(
      fc.property(body, ({ inner, nested: [key, value], isEnveloped, cutAt, spoilt }) => {
        const whole = JSON.stringify({ ...inner, more: { [key]: value } })
        const text = isEnveloped ? JSON.stringify({ 'oslo.version': '2.0', 'oslo.message': whole }) : whole
        const cut = cutAt > text.length ? text : text.slice(0, cutAt)
        expect(JSON.stringify(hear(cut + spoilt))).not.toContain(secret.slice(0, 6))
      }),
      { numRuns: 1_000 },
    )
  })
})
