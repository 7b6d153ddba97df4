import { readdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { Failure } from '../../shared/failures.ts'

/** One notification as it stands in a file: what was on the wire, or a capture that holds it under `body`. */
export interface EventFile {
  path: string
  /** handed to `hear` as it is: unreadable JSON stays text, so that it is parked and not lost */
  body: unknown
}

/** Files, folders (their *.json in name order) and arrays in a file, all as one sequence. @throws Failure BAD_REQUEST */
export function readEvents(paths: string[]): EventFile[] {
  return paths.flatMap((path) => {
    if (!stat(path).isDirectory()) return readFile(path)
    const names = readdirSync(path).filter((name) => name.endsWith('.json'))
    if (names.length === 0) throw new Failure('BAD_REQUEST', `${path} holds no *.json file.`)
    return names.sort().flatMap((name) => readFile(join(path, name)))
  })
}

function readFile(path: string): EventFile[] {
  let bytes: Buffer
  try {
    bytes = readFileSync(path)
  } catch (error) {
    throw new Failure('BAD_REQUEST', `${path} cannot be read: ${(error as Error).message}`)
  }
  try {
    const json: unknown = JSON.parse(bytes.toString('utf8'))
    if (!Array.isArray(json)) return [{ path, body: bodyOf(json, bytes) }]
    return json.map((item, i) => ({ path: `${path}[${i}]`, body: bodyOf(item, Buffer.from(JSON.stringify(item))) }))
  } catch {
    return [{ path, body: bytes }]
  }
}

function bodyOf(json: unknown, bytes: Buffer): unknown {
  return typeof json === 'object' && json !== null && 'body' in json ? json.body : bytes
}

function stat(path: string) {
  try {
    return statSync(path)
  } catch {
    throw new Failure('BAD_REQUEST', `${path} does not exist.`)
  }
}
