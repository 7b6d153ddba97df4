import { Failure } from '../../shared/failures.ts'
import type { Journal, Parked } from '../../shared/ports/journal.ts'
import { printList, printOne, tell, type Output } from './output.ts'

/** Notifications and messages that nothing could be done with: what is kept of them is looked at here, and let go. */
export async function parked(args: string[], limit: number, journal: Journal, output: Output): Promise<number> {
  const [verb, id] = args
  if (verb === 'list') {
    const rows = (await journal.listParked(limit)).map(rowOf)
    printList(rows, ['id', 'at', 'code', 'words'], output)
    return 0
  }
  if ((verb !== 'show' && verb !== 'drop') || id === undefined)
    throw new Failure('BAD_REQUEST', 'say `parked list`, `parked show ID` or `parked drop ID`.')
  const found = await journal.findParked(id)
  if (!found) throw new Failure('BAD_REQUEST', `nothing is parked as ${id}; \`rbdsnap parked list\` shows what is.`)
  if (verb === 'drop') {
    await journal.unpark(id)
    tell(`dropped ${id}`)
  } else printOne({ ...rowOf(found), body: found.body }, output)
  return 0
}

function rowOf({ id, atMs, code, words }: Parked): Record<string, unknown> {
  return { id, at: new Date(atMs).toISOString(), code, words }
}
