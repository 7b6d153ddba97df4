import { readFile } from 'node:fs/promises'
import { Failure } from '../failures.ts'

/** The cluster's id, from its ceph.conf: `rbd` has no command that tells it, and `ceph fsid` is another program with other rights. */
export async function fsidOf(conf: string): Promise<string> {
  const text = await readFile(conf, 'utf8').catch((error: unknown) => {
    throw new Failure(
      'BAD_SETTING',
      `${conf} cannot be read: ${error instanceof Error ? error.message : String(error)}`,
    )
  })
  const fsid = /^\s*fsid\s*=\s*([0-9a-fA-F-]{36})\s*$/m.exec(text)?.[1]
  if (fsid === undefined) throw new Failure('BAD_SETTING', `${conf} has no line \`fsid = \``)
  return fsid.toLowerCase()
}
