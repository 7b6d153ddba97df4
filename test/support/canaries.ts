import { readdirSync, readFileSync, statSync } from 'node:fs'
import { join, relative } from 'node:path'

/** Secrets that are of no use to anybody, and are looked for wherever a secret must not be. */
export type Canaries = Record<string, string>

/** As it is, and as JSON, JSON within JSON, a URL and base64 at any of the three places within a group of bytes would have it. */
function formsOf(value: string): Record<string, string> {
  const quoted = JSON.stringify(value).slice(1, -1)
  // the first and the last characters depend on what stands before and behind
  const encoded = [0, 1, 2].map((before) => {
    const text = Buffer.concat([Buffer.alloc(before), Buffer.from(value)]).toString('base64')
    return text.replace(/=+$/, '').slice(before === 0 ? 0 : before + 1, -1)
  })
  return {
    plain: value,
    JSON: quoted,
    'JSON in JSON': JSON.stringify(quoted).slice(1, -1),
    URL: encodeURIComponent(value),
    ...Object.fromEntries(
      encoded.flatMap((text, i) => [
        [`base64 +${i}`, text],
        [`base64url +${i}`, text.replaceAll('+', '-').replaceAll('/', '_')],
      ]),
    ),
  }
}

/** Which canaries are in there, and in which form. */
export function leaksIn(bytes: Buffer | string, canaries: Canaries): string[] {
  const all = Buffer.from(bytes)
  return Object.entries(canaries).flatMap(([name, value]) => {
    const found = Object.entries(formsOf(value)).find(([, form]) => all.includes(form))
    return found ? [`${name} (${found[0]})`] : []
  })
}

/** In every file below a folder, byte for byte: logs, databases with what they no longer show, their write-ahead logs. */
export function leaksBelow(folder: string, canaries: Canaries, isMeant: (path: string) => boolean): string[] {
  const names = readdirSync(folder, { recursive: true, encoding: 'utf8' }).map((name) => join(folder, name))
  return names
    .filter((path) => statSync(path, { throwIfNoEntry: false })?.isFile() && isMeant(relative(folder, path)))
    .flatMap((path) => leaksIn(readFileSync(path), canaries).map((leak) => `${relative(folder, path)}: ${leak}`))
}
