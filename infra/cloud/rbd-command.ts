import { randomUUID } from 'node:crypto'
import { createWriteStream } from 'node:fs'
import type { Writable } from 'node:stream'
import type { ImageInfo } from './cluster.ts'
import { parseArguments, parseSpec, type RbdArguments, type RbdSpec, Usage } from './rbd-arguments.ts'
import { type RbdClient, rbdClient, RbdRefused } from './rbd-client.ts'
import { childrenJson, childrenText, infoJson, infoText, snapsJson, snapsText } from './rbd-views.ts'

/**
 * Ceph's `rbd` command (16.2) for the embedded cloud: the same options, output, words on stderr, and errno as the exit
 * code.
 */
const chunkBytes = 4 * 1024 * 1024
const progressMs = 100

const errnoText: Record<number, string> = {
  1: 'Operation not permitted',
  2: 'No such file or directory',
  5: 'Input/output error',
  16: 'Device or resource busy',
  17: 'File exists',
  22: 'Invalid argument',
  32: 'Broken pipe',
  38: 'Function not implemented',
  39: 'Directory not empty',
  110: 'Connection timed out',
}

/** What is said on stderr before the command ends with `errno`. */
class Refused extends Error {
  readonly errno: number
  constructor(errno: number, words: string) {
    super(words)
    this.errno = errno
  }
}

function strerror(errno: number): string {
  return `(${errno}) ${errnoText[errno] ?? `Unknown error ${errno}`}`
}

interface Context {
  rbd: RbdClient
  options: RbdArguments
}
type Command = (context: Context, operands: string[]) => Promise<void>

/** Each command opens its image before it works on it, so that a missing one is told apart from a refusal. */
async function open(
  { rbd }: Context,
  spec: RbdSpec,
): Promise<{ info: ImageInfo; snap: ImageInfo['snaps'][number] | null }> {
  const info = await rbd('info', spec).then(
    (body) => JSON.parse(body.toString()) as ImageInfo,
    (error: unknown) => refuse(error, spec, (errno) => `rbd: error opening image ${spec.image}: ${strerror(errno)}`),
  )
  const snap = info.snaps.find(({ name }) => name === spec.snap) ?? null
  if (spec.snap !== '' && !snap) throw new Refused(2, `error setting snapshot context: ${strerror(2)}`)
  return { info, snap }
}

function refuse(error: unknown, { pool }: { pool: string }, words: (errno: number) => string): never {
  if (!(error instanceof RbdRefused)) throw error
  const { errno, component } = error
  if (component === 'cluster') throw new Refused(errno, "rbd: couldn't connect to the cluster!")
  throw new Refused(
    errno,
    component === 'pool' ? `rbd: error opening pool '${pool}': ${strerror(errno)}` : words(errno),
  )
}

/** One call, with its progress on stderr when it has one. */
async function act(
  context: Context,
  operation: string,
  call: RbdSpec & { target?: RbdSpec; features?: string[] },
  says: { failure: string | ((errno: number) => string); progress?: string },
) {
  const progress = context.options.showProgress ? says.progress : undefined
  const { snap, ...rest } = call
  const job = randomUUID()
  const stop = progress === undefined ? () => 0 : showProgress(context.rbd, progress, { ...rest, job })
  try {
    await context.rbd(operation, { ...(snap === '' ? rest : call), job })
  } catch (error) {
    const percent = stop()
    if (progress) process.stderr.write(`\r${progress}: ${percent}% complete...failed.\n`)
    const { failure } = says
    const words = typeof failure === 'string' ? (errno: number) => `rbd: ${failure}: ${strerror(errno)}` : failure
    refuse(error, call.target ?? call, words)
  }
  stop()
  if (progress) process.stderr.write(`\r${progress}: 100% complete...done.\n`)
}

/** Like librbd's progress context: a line over the last one, each time the percentage changes. */
function showProgress(rbd: RbdClient, title: string, call: Parameters<RbdClient>[1]): () => number {
  let shown = 0
  const timer = setInterval(() => {
    rbd('progress', call).then(
      (body) => {
        const { percent } = JSON.parse(body.toString()) as { percent: number }
        if (percent > shown) process.stderr.write(`\r${title}: ${percent}% complete...`)
        shown = Math.max(shown, percent)
      },
      // the call itself says what is wrong
      () => undefined,
    )
  }, progressMs)
  return () => {
    clearInterval(timer)
    return shown
  }
}

function print({ options }: Context, json: () => unknown, text: () => string) {
  process.stdout.write(options.format === 'json' ? `${JSON.stringify(json())}\n` : text())
}

const commands: Record<string, Command> = {
  async info(context, [spec]) {
    const { info, snap } = await open(context, parseSpec(spec, 'allowed'))
    print(
      context,
      () => infoJson(info, snap),
      () => infoText(info, snap),
    )
  },
  async 'snap ls'(context, [spec]) {
    const { info } = await open(context, parseSpec(spec, 'none'))
    print(
      context,
      () => snapsJson(info),
      () => snapsText(info),
    )
  },
  async children(context, [spec]) {
    const { info, snap } = await open(context, parseSpec(spec, 'allowed'))
    const snaps = snap ? [snap] : [...info.snaps, ...info.trashedSnaps]
    print(
      context,
      () => childrenJson(snaps),
      () => childrenText(snaps),
    )
  },
  async 'snap create'(context, [spec]) {
    const target = parseSpec(spec, 'required')
    await open(context, { ...target, snap: '' })
    await act(context, 'snap-create', target, { failure: 'failed to create snapshot', progress: 'Creating snap' })
  },
  async 'snap protect'(context, [spec]) {
    const target = parseSpec(spec, 'required')
    const info = await open(context, { ...target, snap: '' })
    const isProtected = info.info.snaps.some(({ name, isProtected }) => name === target.snap && isProtected)
    if (isProtected) process.stderr.write('rbd: snap is already protected\n')
    await act(context, 'snap-protect', target, { failure: 'protecting snap failed' })
  },
  async 'snap unprotect'(context, [spec]) {
    const target = parseSpec(spec, 'required')
    const info = await open(context, { ...target, snap: '' })
    const isUnprotected = info.info.snaps.some(({ name, isProtected }) => name === target.snap && !isProtected)
    if (isUnprotected) process.stderr.write('rbd: snap is already unprotected\n')
    await act(context, 'snap-unprotect', target, { failure: 'unprotecting snap failed' })
  },
  async 'snap rm'(context, [spec]) {
    const target = parseSpec(spec, 'required')
    await open(context, { ...target, snap: '' })
    const failure = (errno: number) => {
      if (errno === 16) return `rbd: snapshot '${target.snap}' is protected from removal.`
      return `rbd: failed to remove snapshot: ${strerror(errno)}`
    }
    await act(context, 'snap-remove', target, { failure, progress: 'Removing snap' })
  },
  async clone(context, [from, to]) {
    const source = parseSpec(from, 'required')
    const target = parseSpec(to, 'none')
    const { features } = context.options
    await act(
      context,
      'clone',
      { ...source, target, ...(features.length > 0 ? { features } : {}) },
      { failure: 'clone error' },
    )
  },
  async flatten(context, [spec]) {
    const image = parseSpec(spec, 'none')
    await open(context, image)
    await act(context, 'flatten', image, { failure: 'flatten error', progress: 'Image flatten' })
  },
  async cp(context, [from, to]) {
    const source = parseSpec(from, 'allowed')
    const target = parseSpec(to, 'none')
    await open(context, source)
    await act(context, 'copy', { ...source, target }, { failure: 'copy failed', progress: 'Image copy' })
  },
  async mv(context, [from, to]) {
    const source = parseSpec(from, 'none')
    const target = parseSpec(to, 'none')
    if (source.pool !== target.pool) throw new Refused(22, 'rbd: mv/rename across pools not supported')
    await act(context, 'rename', { ...source, target }, { failure: 'rename error' })
  },
  async rm(context, [spec]) {
    const image = parseSpec(spec, 'none')
    const info = await open(context, image).catch(() => null)
    const failure = (errno: number) => removalFailure(errno, info !== null && info.info.snaps.length > 0)
    await act(context, 'remove', image, { failure, progress: 'Removing image' })
  },
  export: exportImage,
}

function removalFailure(errno: number, hasSnaps: boolean): string {
  if (errno === 39 && hasSnaps) {
    return "rbd: image has snapshots - these must be deleted with 'rbd snap purge' before the image can be removed."
  }
  if (errno === 39) {
    return 'rbd: image has snapshots with linked clones - these must be deleted or flattened before the image can be removed.'
  }
  if (errno !== 16) return `rbd: delete error: ${strerror(errno)}`
  return (
    'rbd: error: image still has watchers\nThis means the image is still open or the client using it crashed. ' +
    'Try again after closing/unmapping it or waiting 30s for the crashed client to timeout.'
  )
}

/** The whole content; to stdout the holes are written too, as zeros. */
async function exportImage(context: Context, [spec, path]: string[]) {
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

const aliases: Record<string, string> = {
  'snap list': 'snap ls',
  'snap add': 'snap create',
  'snap remove': 'snap rm',
  copy: 'cp',
  rename: 'mv',
  remove: 'rm',
}

async function run() {
  const options = parseArguments(process.argv.slice(2))
  const { words } = options
  const length = words[0] === 'snap' ? 2 : 1
  const name = words.slice(0, length).join(' ')
  const command = commands[aliases[name] ?? name]
  if (!command) throw new Refused(22, `error: unknown option '${words.join(' ')}'`)
  await command({ rbd: connect(options.conf), options }, words.slice(length))
}

function connect(conf: string): RbdClient {
  try {
    return rbdClient(conf)
  } catch (error) {
    return refuse(error, { pool: '' }, strerror)
  }
}

function end(error: unknown) {
  const refused = error instanceof Usage ? new Refused(22, `rbd: ${error.message}`) : error
  if (!(refused instanceof Refused)) throw error
  process.stderr.write(`${refused.message}\n`)
  process.exitCode = refused.errno
}

await run().catch(end)
