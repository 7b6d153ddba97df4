import { spawn } from 'node:child_process'
import { closeSync, existsSync, openSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { systemEnv } from './command.ts'
import { inLab, logOf } from './folders.ts'

/**
 * One long-lived program of the lab: detached, the leader of a session of its own, both channels in one log, its pid in a file.
 * A pid belongs to us only while its command line still shows the word that was noted beside it: numbers are given again.
 */
export interface Program {
  argv: string[]
  env?: Record<string, string>
  /** a word of its command line while it runs */
  shows: string
}

/**
 * What is freed is kept for the next buffer (mallopt(3)). Debian's ceph-osd has glibc's malloc and not the tcmalloc of Ceph's own builds:
 * it gives each object's 4 MiB back to the kernel and faults them in anew, which took half of its processor's time on a virtual machine.
 */
const keptHeap = {
  MALLOC_MMAP_THRESHOLD_: String(32 * 1024 ** 2),
  MALLOC_TRIM_THRESHOLD_: String(512 * 1024 ** 2),
  MALLOC_TOP_PAD_: String(16 * 1024 ** 2),
}

const pidFile = (part: string) => inLab('run', `${part}.pid`)

const commandLine = (pid: string) => readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ')

/** null when it does not run */
export function pidOf(part: string): number | null {
  if (!existsSync(pidFile(part))) return null
  const [pid = '', shows = ''] = readFileSync(pidFile(part), 'utf8').split('\n')
  try {
    // A zombie's is empty.
    return commandLine(pid).includes(shows) && shows !== '' ? Number(pid) : null
  } catch {
    return null
  }
}

export function runsSince(part: string): Date | null {
  return pidOf(part) === null ? null : statSync(pidFile(part)).mtime
}

/** Does nothing when it runs. @throws Error when there is no such program */
export async function start(part: string, { argv: [program = '', ...args], env, shows }: Program): Promise<void> {
  if (pidOf(part) !== null) return
  const log = openSync(logOf(part), 'a')
  const child = spawn(program, args, {
    cwd: inLab('run'),
    detached: true,
    env: { ...systemEnv, ...keptHeap, ...env },
    stdio: ['ignore', log, log],
  })
  closeSync(log)
  await new Promise<void>((resolve, reject) => {
    child.once('spawn', resolve)
    child.once('error', reject)
  })
  child.unref()
  writeFileSync(pidFile(part), `${child.pid}\n${shows}\n`)
}

/** SIGTERM, then SIGKILL to whatever of its session is left. */
export async function stop(part: string, withinMs = 15_000): Promise<void> {
  const pid = pidOf(part)
  if (pid !== null) signal(pid, 'SIGTERM')
  const endAtMs = Date.now() + withinMs
  while (pidOf(part) !== null && Date.now() < endAtMs) await sleep(50)
  await end(part, pid)
}

/** SIGKILL to all of its session: as when its machine lost power. */
export async function kill(part: string): Promise<void> {
  await end(part, pidOf(part))
}

async function end(part: string, pid: number | null): Promise<void> {
  if (pid !== null) signal(-pid, 'SIGKILL')
  while (pidOf(part) !== null) await sleep(20)
  rmSync(pidFile(part), { force: true })
}

function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error
  }
}
