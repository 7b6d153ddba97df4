import { printList } from '../cli/output.ts'
import { logOf } from './folders.ts'
import { isMade, isUp } from './part.ts'
import { parts } from './parts.ts'
import { pidOf, runsSince } from './process.ts'

/** `npm run lab:status`: exit 1 when something is down. */
const rows = parts.map((part) => ({
  part: part.name,
  state: isUp(part) ? (part.program === undefined ? 'made' : 'up') : isMade(part) ? 'down' : 'not made',
  pid: pidOf(part.name) ?? '',
  since: runsSince(part.name)?.toISOString().slice(0, 19) ?? '',
  log: part.program === undefined ? '' : logOf(part.name),
}))
printList(rows, ['part', 'state', 'pid', 'since', 'log'], { format: 'table', columns: [] })
process.exitCode = parts.every(isUp) ? 0 : 1
