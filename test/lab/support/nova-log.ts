import { existsSync, readFileSync } from 'node:fs'
import { logOf } from '../../../infra/lab/folders.ts'

const logs = ['nova-api', 'nova-compute']
const mostLines = 6

/**
 * The last warnings and errors of Nova's that name one of these ids: why a disk stayed is written there and nowhere else
 * (`_destroy_volume` gives up without an error; nova-api deletes a server by itself when its host seems to be down).
 */
export function novaSaid(ids: string[]): string[] {
  return logs
    .filter((name) => existsSync(logOf(name)))
    .flatMap((name) => {
      const lines = readFileSync(logOf(name), 'utf8').split('\n')
      const told = lines.filter((line) => / (WARNING|ERROR) /.test(line) && ids.some((id) => line.includes(id)))
      return told.slice(-mostLines).map((line) => `${name}: ${line.slice(0, 400)}`)
    })
}
