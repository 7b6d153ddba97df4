import { spawn, type ChildProcessByStdio } from 'node:child_process'
import { once } from 'node:events'
import type { Readable } from 'node:stream'
import { Failure, type FailureCode } from '../failures.ts'
import { errno, type Reply } from './rbd-calls.ts'
import { quote } from './words.ts'
import { outOfTime } from './wait.ts'

export interface RbdCommand {
  /** `rbd`, or more words when it is started through another program */
  command: string[]
  /** the cluster's ceph.conf */
  conf: string
  /** `client.` is left out; null: the command's own default */
  user: string | null
}

export interface Ended {
  code: number
  stdout: string
  stderr: string
}

export type RbdProcess = ChildProcessByStdio<null, Readable, Readable>

const longestOutput = 16 * 1024 * 1024
const keptOfStderr = 4_096

/** No shell: each argument is one word of the command line, whatever it contains. */
export function start({ command, conf, user }: RbdCommand, args: string[]): RbdProcess {
  const [program = 'rbd', ...first] = command
  const who = user === null ? [] : ['--id', user]
  return spawn(program, [...first, '--conf', conf, ...who, ...args], { stdio: ['ignore', 'pipe', 'pipe'] })
}

/** Ends with the process; `signal` kills it. */
export async function run(rbd: RbdCommand, what: string, args: string[], signal: AbortSignal): Promise<Ended> {
  if (signal.aborted) throw outOfTime(what)
  const child = start(rbd, args)
  const kill = () => child.kill('SIGKILL')
  signal.addEventListener('abort', kill, { once: true })
  try {
    const all = [ended(child, what), collect(child.stdout), lastOf(child.stderr)] as const
    const [code, stdout, stderr] = await Promise.all(all)
    return { code, stdout, stderr }
  } catch (error) {
    throw signal.aborted ? outOfTime(what, error) : error
  } finally {
    signal.removeEventListener('abort', kill)
    kill()
  }
}

/** The exit code, which is librbd's errno; a process that was killed from elsewhere has none. */
export async function ended(child: RbdProcess, what: string): Promise<number> {
  try {
    const [code] = (await once(child, 'close')) as [number | null]
    if (code !== null) return code
  } catch (error) {
    const words = `${what}: the command ${child.spawnfile} cannot be started: ${error instanceof Error ? error.message : String(error)}`
    throw new Failure('BAD_SETTING', words, { cause: error })
  }
  throw new Failure(
    'CEPH_UNREACHABLE',
    `${what}: the command ${child.spawnfile} was killed by ${String(child.signalCode)}`,
  )
}

/** The last words of a program, whole lines as far as they are kept. */
export async function lastOf(stream: Readable, onText: (text: string) => void = () => undefined): Promise<string> {
  let kept = ''
  for await (const chunk of stream.setEncoding('utf8')) {
    onText(chunk as string)
    kept = (kept + (chunk as string)).slice(-keptOfStderr)
  }
  return kept
}

async function collect(stream: Readable): Promise<string> {
  let text = ''
  for await (const chunk of stream.setEncoding('utf8')) {
    text += chunk as string
    if (text.length > longestOutput) throw new Failure('ANSWER_UNREADABLE', 'rbd printed more than 16 MiB')
  }
  return text
}

/** The exit code is the errno, but it is also some number when no cluster was reached at all: only the words tell. */
export function replyOf(what: string, { code, stderr }: Pick<Ended, 'code' | 'stderr'>): Reply {
  if (code === 0) return { is: 'ok' }
  const words = quote(lastLines(stderr))
  const unreached = unreachedBecause(code, stderr)
  if (unreached) throw new Failure(unreached, `${what}: the command ended with ${String(code)}: ${words}`)
  return { is: 'errno', errno: code, about: stderr.includes('error opening pool') ? 'pool' : 'image', words }
}

/** In the words of `rbd` and of `ceph` 16.2; without a keyring they end with ENOENT, as they do without an image. */
function unreachedBecause(code: number, stderr: string): FailureCode | null {
  if (/unable to open config file|error calling conf_read_file/.test(stderr)) return 'BAD_SETTING'
  if (!/couldn't connect to the cluster|error connecting to the cluster/.test(stderr)) return null
  const isRefused = code === errno.EPERM || code === errno.EACCES || stderr.includes('no keyring found')
  return isRefused ? 'CEPH_REFUSED' : 'CEPH_UNREACHABLE'
}

/** Progress is drawn over itself with carriage returns; the reason comes last. */
function lastLines(stderr: string): string {
  const lines = stderr.split(/[\r\n]+/).filter((line) => line.trim() !== '' && !line.includes('% complete'))
  return lines.slice(-3).join(' ')
}
