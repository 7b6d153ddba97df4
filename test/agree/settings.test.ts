import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { bridgeSettingNames, readBridgeConfig, readConfig, settingNames } from '../../shared/config.ts'

const page = readFileSync('docs/operate.md', 'utf8')

const allNames = [...new Set([...settingNames, ...bridgeSettingNames])]

/** The rows of the settings tables: | `NAME` | default | meaning | */
const rows = new Map(
  [...page.matchAll(/^\| `(?<name>[A-Z_]+)` *\| (?<fallback>[^|]*?) *\| (?<meaning>[^|]*?) *\|$/gm)].map((m) => [
    m.groups?.['name'] ?? '',
    { fallback: m.groups?.['fallback'] ?? '', meaning: m.groups?.['meaning'] ?? '' },
  ]),
)

const required = {
  OS_AUTH_URL: 'http://127.0.0.1:5000/v3',
  OS_USERNAME: 'rbdsnap',
  OS_PASSWORD: 'lab',
  OS_PROJECT_NAME: 'service',
  RBDSNAP_CEPH_URLS: 'http://127.0.0.1:8443',
  RBDSNAP_CEPH_FSID: '9b2c3d4e-0000-4000-8000-000000000001',
  RBDSNAP_CEPH_USER: 'gate',
  RBDSNAP_CEPH_PASSWORD: 'lab',
  RBDSNAP_JOURNAL: 'sqlite:/tmp/journal.sqlite',
  RBDSNAP_QUEUE_PREFIX: 'http://127.0.0.1:9324/000000000000/rbdsnap-',
  RBDSNAP_BUS_URL: 'rabbit://nova:secret@127.0.0.1:5672/',
}

test('docs/operate.md lists every setting and no other', () => {
  expect([...rows.keys()].sort()).toEqual([...allNames].sort())
})

test('it mentions no RBDSNAP_ name that is not a setting', () => {
  for (const name of page.match(/RBDSNAP_\w+/g) ?? []) expect([...allNames, 'RBDSNAP_DATA_DIR']).toContain(name)
})

test('every setting says what it means', () => {
  for (const [name, { meaning }] of rows) expect(meaning.length, name).toBeGreaterThan(10)
})

test('the defaults are those that the code takes', () => {
  const config: Record<string, unknown> = { ...readBridgeConfig(required), ...readConfig(required) }
  for (const [name, { fallback }] of rows) {
    const taken = name in required || config[name] === undefined ? '' : String(config[name])
    const shown = /^`(?<value>.+)`$/.exec(fallback)?.groups?.['value'] ?? ''
    expect(shown, name).toBe(taken)
  }
})
