import { spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { once } from 'node:events'

/** SHA-512, as Glance has it of what was uploaded to it (`os_hash_value`). @param spec pool/image or pool/image@snap */
export async function hashOf(conf: string, spec: string): Promise<string> {
  const child = spawn('rbd', ['--conf', conf, 'export', '--no-progress', spec, '-'], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const ended = once(child, 'close') as Promise<[number | null]>
  const hash = createHash('sha512')
  for await (const chunk of child.stdout) hash.update(chunk as Buffer)
  const [code] = await ended
  if (code !== 0) throw new Error(`rbd export ${spec} ended with ${String(code)}`)
  return hash.digest('hex')
}
