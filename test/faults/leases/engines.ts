import { spawn } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import type { QueueStep } from '../../../shared/pipeline.ts'
import type { Invocation } from './engine.ts'

/** What a function said of one delivery, in its line of the log. */
export interface Said {
  step: QueueStep
  says: string
  run?: string
  hop?: number
  code?: string
  words?: string
}

export interface Engine {
  /** True when the message may be deleted. */
  deliver: (step: QueueStep, body: string) => Promise<boolean>
  said: Said[]
  /** SIGSTOP: until the kernel says that it stands still. */
  stop: () => Promise<void>
  /** SIGCONT */
  wake: () => void
  end: () => Promise<void>
}

export function startEngine(env: Record<string, string>): Engine {
  const program = ['--disable-warning=ExperimentalWarning', join(import.meta.dirname, 'engine.ts')]
  const child = spawn(process.execPath, program, {
    env: { PATH: process.env['PATH'] ?? '', ...env },
    stdio: ['ignore', 'pipe', 'inherit', 'ipc'],
  })
  const pid = child.pid ?? 0
  const said: Said[] = []
  const waiting = new Map<number, (isDone: boolean) => void>()
  let invocations = 0
  if (!child.stdout) throw new Error('the engine has no stdout')
  createInterface({ input: child.stdout }).on('line', (line) => said.push(JSON.parse(line) as Said))
  child.on('message', ({ id, isDone }: { id: number; isDone: boolean }) => {
    waiting.get(id)?.(isDone)
    waiting.delete(id)
  })
  return {
    said,
    deliver(step, body) {
      const invocation: Invocation = { id: (invocations += 1), step, body }
      return new Promise((done) => {
        waiting.set(invocation.id, done)
        // one that was ended is sent nothing more
        if (child.connected) child.send(invocation)
      })
    },
    async stop() {
      process.kill(pid, 'SIGSTOP')
      while (stateOf(pid) !== 'T') await pause(5)
    },
    wake: () => void process.kill(pid, 'SIGCONT'),
    async end() {
      const gone = new Promise((done) => child.once('exit', done))
      // also one that stands still
      child.kill('SIGKILL')
      await gone
    },
  }
}

/** The letter behind the command's name (proc(5), /proc/PID/stat); T: stopped by a signal. */
function stateOf(pid: number): string {
  const stat = readFileSync(`/proc/${String(pid)}/stat`, 'utf8')
  return stat.slice(stat.lastIndexOf(')') + 2, stat.lastIndexOf(')') + 3)
}

export function pause(ms: number): Promise<void> {
  return new Promise((done) => setTimeout(done, ms))
}

/** @param what in words, with what there is instead when it does not come */
export async function until(
  what: () => string,
  isTrue: () => boolean | Promise<boolean>,
  withinMs = 120_000,
): Promise<void> {
  const endAtMs = Date.now() + withinMs
  while (!(await isTrue())) {
    if (Date.now() > endAtMs) throw new Error(`${what()}: not within ${withinMs} ms`)
    await pause(20)
  }
}
