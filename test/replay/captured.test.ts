import { readFileSync } from 'node:fs'
import { gunzipSync } from 'node:zlib'
import { describe, expect, it } from 'vitest'
import { hear } from '../../shared/notification.ts'
import { defaultRules, explain } from '../../shared/rules.ts'
import { message, messageVersion, type Notification } from '../../shared/run.ts'
import type { Captured } from './pack.ts'

const captures = gunzipSync(readFileSync(new URL('captured.ndjson.gz', import.meta.url)))
  .toString()
  .trimEnd()
  .split('\n')
  .map((line) => JSON.parse(line) as Captured)

function heardOf(capture: Captured): Notification {
  const heard = hear(Buffer.from(JSON.stringify(capture.body)))
  if (heard.is !== 'notification')
    throw new Error(`${capture.file}: ${heard.is === 'unreadable' ? heard.why : heard.is}`)
  return heard
}
const all = captures.map((capture) => ({ ...capture, heard: heardOf(capture) }))
const versioned = all.filter((c) => c.file.startsWith('versioned/'))
const legacy = all.filter((c) => c.file.startsWith('legacy/'))

describe('every notification captured from a real Nova', () => {
  it('is there: 263 versioned and 260 legacy', () => {
    expect([versioned.length, legacy.length]).toEqual([263, 260])
  })

  it('is heard in its own format', () => {
    expect(versioned.every((c) => c.heard.format === 'versioned')).toBe(true)
    expect(legacy.every((c) => c.heard.format === 'legacy')).toBe(true)
  })

  it('becomes a message that the first queue accepts', () => {
    for (const { heard } of all) message.parse({ v: messageVersion, step: 'ingest', tries: 0, heard })
  })

  it('is a request exactly when Nova begins a snapshot; nobody in the captures set the tag', () => {
    const requests = all.filter((c) => explain(c.heard, defaultRules).decision === 'request')
    const starts = all.filter((c) => /instance\.snapshot\.start$/.test(c.heard.eventType))
    expect(requests.map((c) => c.file)).toEqual(starts.map((c) => c.file))
    expect(starts.map((c) => c.file.slice(0, 13))).toHaveLength(17)
  })

  it('may fire a policy at five actions, in both formats alike', () => {
    const fired = all.flatMap(({ heard }) => explain(heard, defaultRules).policy?.action ?? [])
    const counts = [...Map.groupBy(fired, (action) => action)].map(([action, of]) => `${action} ${of.length}`)
    expect(counts.toSorted()).toEqual(['pause 2', 'power_off 2', 'shelve 2', 'soft_delete 4', 'suspend 2'])
  })

  it('names the image when it is a versioned snapshot notification, and never otherwise', () => {
    for (const { heard } of all) expect(heard.image !== null).toBe(namesAnImage(heard))
  })

  it('carries tags only in the versioned forms of update and create', () => {
    const withTags = new Set(all.filter((c) => c.heard.tags !== null).map((c) => c.heard.eventType))
    expect([...withTags].sort()).toEqual([
      'instance.create.end',
      'instance.create.error',
      'instance.create.start',
      'instance.update',
    ])
  })

  it('wakes the runs of its instance when it is a sign that something moved', () => {
    const notes = new Set(
      all.filter((c) => explain(c.heard, defaultRules).decision === 'note').map((c) => c.heard.event),
    )
    expect([...notes].sort()).toEqual([
      'compute.exception',
      'instance.delete.end',
      'instance.delete.start',
      'instance.rebuild.start',
      'instance.resize.end',
      'instance.resize.start',
      'instance.resize_confirm.end',
      'instance.resize_confirm.start',
      'instance.resize_finish.end',
      'instance.resize_finish.start',
      'instance.resize_prep.end',
      'instance.resize_prep.start',
      'instance.shelve_offload.start',
      'instance.shutdown.end',
      'instance.snapshot.end',
    ])
  })
})

function namesAnImage({ event, format, eventType }: Notification): boolean {
  return (format === 'versioned' && event.startsWith('instance.snapshot.')) || eventType === 'snapshot_instance'
}

/** Nova publishes lock and unlock in the new format only, and the captures end between the two forms of one snapshot.start. */
const withoutTwin = new Set(['instance.lock', 'instance.unlock'])

describe('the two formats of one action', () => {
  const twins = versioned
    .filter((c) => !withoutTwin.has(c.heard.event))
    .slice(0, legacy.length)
    .map((v, i) => ({ v, l: legacy[i] ?? v }))

  it('come within half a second of each other, in one order', () => {
    for (const { v, l } of twins) expect(Math.abs(v.heard.atMs - l.heard.atMs), `${v.file} ${l.file}`).toBeLessThan(500)
    expect(versioned).toHaveLength(legacy.length + 3)
  })

  it('have one name, except for a build that failed', () => {
    const differing = twins.filter(({ v, l }) => v.heard.event !== l.heard.event)
    expect(new Set(differing.map(({ v, l }) => `${l.heard.event} = ${v.heard.event}`))).toEqual(
      new Set(['compute_task.build_instances = compute_task.build_instances.error']),
    )
  })

  it('name one instance and one project, except that compute.exception names none', () => {
    for (const { v, l } of twins) {
      if (v.heard.event === 'compute.exception') expect([v.heard.instance, v.heard.project]).toEqual([null, null])
      else expect([v.heard.instance, v.heard.project], v.file).toEqual([l.heard.instance, l.heard.project])
    }
  })

  it('lead to one decision, except where the legacy form has no tags, or the versioned one no instance', () => {
    for (const { v, l } of twins) {
      if (v.heard.event === 'compute.exception') continue
      expect(explain(v.heard, defaultRules).decision, v.file).toBe(explain(l.heard, defaultRules).decision)
    }
  })
})
