import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Failure } from '../../shared/failures.ts'

/** One stack over one data folder. */
const lockOf = (dataDir: string) => join(dataDir, 'stack.pid')

/** @throws Failure BAD_REQUEST when another process keeps a stack running there */
export function takeLock(dataDir: string): void {
  const owner = ownerOf(dataDir)
  if (owner !== null) {
    throw new Failure('BAD_REQUEST', `a stack is running over ${dataDir} already (process ${owner}).`)
  }
  writeFileSync(lockOf(dataDir), `${process.pid} ${bornAt(process.pid) ?? ''}`)
}

/** The process that keeps a stack running over the folder; null when there is none, or it is this one. */
export function ownerOf(dataDir: string): number | null {
  const path = lockOf(dataDir)
  if (!existsSync(path)) return null
  const [first = '', born = ''] = readFileSync(path, 'utf8').split(' ')
  const pid = Number(first)
  if (!Number.isInteger(pid) || pid <= 0 || pid === process.pid) return null
  try {
    process.kill(pid, 0)
  } catch {
    return null
  }
  return born === (bornAt(pid) ?? '') ? pid : null
}

/**
 * Tells a process from another one that was given its number later, also after a reboot: which boot, and when in it
 * (proc_pid_stat(5), field 22; the name in field 2 may have blanks and brackets). Null where there is no /proc.
 */
function bornAt(pid: number): string | null {
  try {
    const afterName = readFileSync(`/proc/${pid}/stat`, 'utf8').replace(/^.*\)/s, '').trim().split(' ')
    return `${readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim()}/${afterName[19] ?? ''}`
  } catch {
    return null
  }
}

export function leaveLock(dataDir: string): void {
  rmSync(lockOf(dataDir), { force: true })
}
