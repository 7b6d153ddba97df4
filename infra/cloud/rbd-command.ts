// Ceph's `rbd` command (16.2) for the embedded cloud: the same options, output, words on stderr, and errno as exit code.
import { parseArguments, parseSpec, Usage } from './rbd-arguments.ts'
import { type RbdClient, rbdClient, RbdRefused } from './rbd-client.ts'
import { exportImage } from './rbd-export.ts'
import { act, type Context, open, print, Refused, refuse, strerror } from './rbd-session.ts'
import { childrenJson, childrenText, infoJson, infoText, snapsJson, snapsText } from './rbd-views.ts'

type Command = (context: Context, operands: string[]) => Promise<void>

const commands: Record<string, Command> = {
  async info(context, [spec]) {
    const { info, snap } = await open(context, parseSpec(spec, 'allowed'))
    print(
      context,
      () => infoJson(info, snap),
      () => infoText(info, snap),
    )
  },
  async ls({ rbd }, [pool = 'rbd']) {
    const names = await rbd('ls', { pool, image: '', snap: '' }).catch((error: unknown) =>
      refuse(error, { pool }, (errno) => `rbd: listing images failed: ${strerror(errno)}`),
    )
    for (const name of JSON.parse(names.toString()) as string[]) process.stdout.write(`${name}\n`)
  },
  /** As if no option were set, on the pool or elsewhere. */
  async 'config pool ls'() {
    process.stdout.write(`${JSON.stringify([{ name: 'rbd_default_clone_format', value: 'auto', source: 'config' }])}\n`)
  },
  async 'snap ls'(context, [spec]) {
    const { info } = await open(context, parseSpec(spec, 'none'))
    print(
      context,
      () => snapsJson(info, context.options.all),
      () => snapsText(info),
    )
  },
  async children(context, [spec]) {
    const { info, snap } = await open(context, parseSpec(spec, 'allowed'))
    const snaps = snap ? [snap] : [...info.snaps, ...info.trashedSnaps]
    print(
      context,
      () => childrenJson(snaps, context.options.all),
      () => childrenText(snaps, context.options.all),
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
    const { features } = context.options
    const call = { ...source, target, ...(features.length > 0 ? { features } : {}) }
    await act(context, 'copy', call, { failure: 'copy failed', progress: 'Image copy' })
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
  const length = { snap: 2, config: 3 }[words[0] ?? ''] ?? 1
  const name = words.slice(0, length).join(' ')
  const command = commands[aliases[name] ?? name]
  if (!command) throw new Refused(22, `error: unknown option '${words.join(' ')}'`)
  await command({ rbd: connect(options.conf), options }, words.slice(length))
}

function connect(conf: string): RbdClient {
  try {
    return rbdClient(conf)
  } catch (error) {
    if (!(error instanceof RbdRefused) || error.errno !== 2) return refuse(error, { pool: '' }, strerror)
    throw new Refused(1, `global_init: unable to open config file from search list ${conf}`)
  }
}

function end(error: unknown) {
  const refused = error instanceof Usage ? new Refused(22, `rbd: ${error.message}`) : error
  if (!(refused instanceof Refused)) throw error
  process.stderr.write(`${refused.message}\n`)
  process.exitCode = refused.errno
}

await run().catch(end)
