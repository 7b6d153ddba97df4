import { randomUUID } from 'node:crypto'
import type { ImageInfo } from './cluster.ts'
import type { RbdArguments, RbdSpec } from './rbd-arguments.ts'
import { type RbdClient, RbdRefused } from './rbd-client.ts'

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
export class Refused extends Error {
  readonly errno: number
  constructor(errno: number, words: string) {
    super(words)
    this.errno = errno
  }
}

export function strerror(errno: number): string {
  return `(${errno}) ${errnoText[errno] ?? `Unknown error ${errno}`}`
}

export interface Context {
  rbd: RbdClient
  options: RbdArguments
}

/** Each command opens its image before it works on it, so that a missing one is told apart from a refusal. */
export async function open(
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

export function refuse(error: unknown, { pool }: { pool: string }, words: (errno: number) => string): never {
  if (!(error instanceof RbdRefused)) throw error
  const { errno, component } = error
  if (component === 'cluster') throw new Refused(errno, "rbd: couldn't connect to the cluster!")
  throw new Refused(
    errno,
    component === 'pool' ? `rbd: error opening pool '${pool}': ${strerror(errno)}` : words(errno),
  )
}

/** One call, with its progress on stderr when it has one. */
export async function act(
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

export function print({ options }: Context, json: () => unknown, text: () => string) {
  process.stdout.write(options.format === 'json' ? `${JSON.stringify(json())}\n` : text())
}
