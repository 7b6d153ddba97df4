import { readdirSync, readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { hear } from '../../shared/notification.ts'
import { defaultRules, explain } from '../../shared/rules.ts'
import type { Notification } from '../../shared/run.ts'

interface EventFile {
  action: string
  exchange: string
  routing_key: string
  body: { 'oslo.version': string; 'oslo.message': string }
  message: Record<string, unknown>
}

const folder = new URL('../../events/', import.meta.url)
const names = readdirSync(folder)
  .filter((name) => name.endsWith('.json'))
  .sort()
const readme = readFileSync(new URL('README.md', folder), 'utf8')
const rows = [
  ...readme.matchAll(/^\| `(?<file>[^`]+\.json)` +\| [^|]+ \| (?<decision>\w+): (?<rule>[\w-]+) +\| [^|]+ \|$/gm),
]

function textOf(name: string): string {
  return readFileSync(new URL(name, folder), 'utf8')
}
function heardOf(name: string): Notification {
  const heard = hear((JSON.parse(textOf(name)) as EventFile).body)
  if (heard.is !== 'notification') throw new Error(`${name} cannot be read`)
  return heard
}

describe('the files in events/', () => {
  it('are each in the README, once and in order, and nothing else is', () => {
    expect(rows.map((row) => row.groups?.['file'])).toEqual(names)
  })

  it('lead to the decision and the rule that the README tells', () => {
    const told = rows.map((row) => `${row.groups?.['file']} ${row.groups?.['decision']}: ${row.groups?.['rule']}`)
    const made = names.map((name) => {
      const explained = explain(heardOf(name), defaultRules)
      return `${name} ${explained.decision}: ${explained.rule?.name}`
    })
    expect(made).toEqual(told)
  })

  it.each(names)('%s is named after its event and its format, and is as it was published', (name) => {
    const heard = heardOf(name)
    const file = JSON.parse(textOf(name)) as EventFile
    expect(name.slice(3)).toBe(`${heard.eventType}.${heard.format}.json`)
    expect(file.exchange).toBe('nova')
    const topic = heard.format === 'versioned' ? 'versioned_notifications' : 'notifications'
    expect(file.routing_key).toMatch(new RegExp(`^${topic}\\.(info|error)$`))
  })

  it.each(names)('%s shows under `message` what is in its body', (name) => {
    const file = JSON.parse(textOf(name)) as EventFile
    const inner = JSON.parse(file.body['oslo.message']) as Record<string, unknown>
    const shown = Object.fromEntries(Object.entries(inner).filter(([key]) => !key.startsWith('_context_')))
    expect(file.message).toEqual(shown)
  })

  it.each(names)('%s holds no token, key or address', (name) => {
    const secrets: string[] = []
    JSON.parse((JSON.parse(textOf(name)) as EventFile).body['oslo.message'], (key, value: unknown) => {
      if (/token|password|secret|user_data|key_data/.test(key) && value !== null) secrets.push(key)
      return value
    })
    expect(secrets).toEqual([])
    expect(textOf(name)).not.toMatch(/gAAAAA|eyJ[\w-]{10}|-----BEGIN|\b(?!127\.0\.0\.1\b)\d{1,3}(?:\.\d{1,3}){3}\b/)
  })

  it('are in order of arrival', () => {
    const times = names.map((name) => heardOf(name).atMs)
    expect(times).toEqual(times.toSorted((a, b) => a - b))
  })

  it('hold one snapshot in both formats, and snapshots of different servers and images', () => {
    const starts = names.map(heardOf).filter((h) => h.event === 'instance.snapshot.start')
    const [legacy, versioned] = starts
    expect([legacy?.format, versioned?.format]).toEqual(['legacy', 'versioned'])
    expect(legacy?.instance).toBe(versioned?.instance)
    expect(new Set(starts.map((h) => h.instance)).size).toBe(3)
    expect(new Set(starts.flatMap((h) => h.image ?? [])).size).toBe(4)
  })
})
