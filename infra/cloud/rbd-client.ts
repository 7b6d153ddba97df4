import { readFileSync } from 'node:fs'
import { request } from 'node:http'
import type { RbdCall } from './rbd-endpoint.ts'

/** A refusal of librbd's, or of the way to it. */
export class RbdRefused extends Error {
  readonly errno: number
  readonly component: 'rbd' | 'pool' | 'cluster'
  constructor(errno: number, component: 'rbd' | 'pool' | 'cluster') {
    super(`errno ${errno}`)
    this.errno = errno
    this.component = component
  }
}

type CallOf = Omit<RbdCall, 'fsid'>
export type RbdClient = (operation: string, call: CallOf) => Promise<Buffer>

/** Connects to the cluster that a ceph.conf names: its `fsid`, and `mon_host` for the cloud's endpoint. */
export function rbdClient(conf: string): RbdClient {
  const { fsid, mon_host: monHost } = readConf(conf)
  if (fsid === undefined || monHost === undefined) throw new RbdRefused(22, 'cluster')
  const [hostname, port] = monHost.split(':')

  return (operation, call) =>
    new Promise((resolve, reject) => {
      const asked = request({ hostname, port, path: `/${operation}`, method: 'POST', agent: false }, (response) => {
        const chunks: Buffer[] = []
        response.on('data', (chunk: Buffer) => chunks.push(chunk))
        response.on('error', () => reject(new RbdRefused(110, 'cluster')))
        response.on('end', () => {
          const body = Buffer.concat(chunks)
          const status = response.statusCode ?? 0
          if (status < 300) resolve(body)
          else reject(status === 409 ? refusal(body) : new RbdRefused(5, 'cluster'))
        })
      })
      asked.on('error', () => reject(new RbdRefused(110, 'cluster')))
      asked.end(JSON.stringify({ ...call, fsid }))
    })
}

function refusal(body: Buffer): RbdRefused {
  const { errno, component } = JSON.parse(body.toString()) as { errno: number; component: 'rbd' | 'pool' }
  return new RbdRefused(errno, component)
}

function readConf(path: string): Record<string, string> {
  let lines: string[]
  try {
    lines = readFileSync(path, 'utf8').split('\n')
  } catch {
    throw new RbdRefused(2, 'cluster')
  }
  return Object.fromEntries(
    lines.flatMap((line) => {
      const found = /^\s*([\w ]+?)\s*=\s*(.*?)\s*$/.exec(line)
      return found ? [[found[1]?.replaceAll(' ', '_') ?? '', found[2] ?? '']] : []
    }),
  )
}
