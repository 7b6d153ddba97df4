import { createWriteStream } from 'node:fs'
import type { Writable } from 'node:stream'
import { parseSpec } from './rbd-arguments.ts'
import { type Context, open, Refused, refuse, strerror } from './rbd-session.ts'

const chunkBytes = 4 * 1024 * 1024

/** The whole content; to stdout the holes are written too, as zeros. */
export async function exportImage(context: Context, [spec, path]: string[]) {
  const from = parseSpec(spec, 'allowed')
  const { info, snap } = await open(context, from)
  const out = path === undefined || path === '-' ? process.stdout : createWriteStream(path, { flags: 'wx' })
  const sizeBytes = snap?.sizeBytes ?? info.sizeBytes
  for (let offset = 0; offset < sizeBytes; offset += chunkBytes) {
    const length = Math.min(chunkBytes, sizeBytes - offset)
    const range = from.snap === '' ? { pool: from.pool, image: from.image } : from
    const bytes = await context.rbd('read', { ...range, offset, length }).catch((error: unknown) => {
      return refuse(
        error,
        from,
        (errno) => `rbd: error reading from source image at offset ${offset}: ${strerror(errno)}`,
      )
    })
    await write(out, bytes.length === 0 ? Buffer.alloc(length) : bytes)
  }
  if (out !== process.stdout) await new Promise<void>((resolve) => out.end(() => resolve()))
  if (context.options.showProgress) process.stderr.write('\rExporting image: 100% complete...done.\n')
}

/** Done when the bytes are taken: whoever reads us slowly is not outrun. */
async function write(out: Writable, bytes: Buffer) {
  await new Promise<void>((resolve, reject) => {
    out.once('error', reject)
    out.write(bytes, (error) => {
      out.off('error', reject)
      if (error) reject(error)
      else resolve()
    })
  }).catch((error: unknown) => {
    const errno = Math.abs((error as NodeJS.ErrnoException).errno ?? 5)
    throw new Refused(errno, `rbd: export error: ${strerror(errno)}`)
  })
}
