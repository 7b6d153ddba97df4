import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'

/**
 * Packs a folder of captured notifications (`versioned/*.json` and `legacy/*.json`, each with `action`, `routing_key` and
 * `body` as it was on the wire) into one compressed file, a capture a line, for test/replay/captured.test.ts:
 *
 *   node test/replay/pack.ts FOLDER test/replay/captured.ndjson.gz
 *
 * Whatever a cloud's users would not want published becomes null; the keys stay, so that every shape is as Nova made it.
 */
export interface Captured {
  file: string
  action: string
  routing_key: string
  body: { 'oslo.version': string; 'oslo.message': string }
}

const isPrivate = (key: string) => /^_context|token|^(user_data|key_data|key_name|keypairs)$/.test(key)

function clean(capture: Captured, file: string): Captured {
  const inner = JSON.parse(capture.body['oslo.message'], (key, value: unknown) =>
    isPrivate(key) ? null : value,
  ) as unknown
  return {
    file,
    action: capture.action,
    routing_key: capture.routing_key,
    body: { 'oslo.version': capture.body['oslo.version'], 'oslo.message': JSON.stringify(inner) },
  }
}

function pack(folder: string, target: string): void {
  const lines = ['legacy', 'versioned'].flatMap((format) =>
    readdirSync(join(folder, format))
      .filter((name) => name.endsWith('.json'))
      .sort()
      .map((name) => {
        const capture = JSON.parse(readFileSync(join(folder, format, name), 'utf8')) as Captured
        return JSON.stringify(clean(capture, `${format}/${name}`))
      }),
  )
  const packed = gzipSync(`${lines.join('\n')}\n`, { level: 9 })
  writeFileSync(target, packed)
  process.stdout.write(`${lines.length} captures in ${packed.length} bytes\n`)
}

if (import.meta.main) {
  const [folder, target] = process.argv.slice(2)
  if (!folder || !target) throw new Error('usage: node test/replay/pack.ts FOLDER FILE')
  pack(folder, target)
}
