import { spawn } from 'node:child_process'
import { appendFileSync } from 'node:fs'

export interface CommandOptions {
  input?: string
  env?: Record<string, string>
  cwd?: string
  /** a file that gets what the command says on both channels */
  log?: string
  withinMs?: number
}

/** Debian's own programs, whatever Python or Ceph the person has in PATH. */
export const systemEnv = { PATH: '/usr/sbin:/usr/bin:/sbin:/bin', LANG: 'C.UTF-8', HOME: '/root' }
const keptCharacters = 1_500

/** Runs it to its end and gives its stdout. @throws Error with the end of what it said */
export function command([program = '', ...args]: string[], options: CommandOptions = {}): Promise<string> {
  const { input = '', env = {}, cwd, log, withinMs = 120_000 } = options
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, {
      env: { ...systemEnv, ...env },
      timeout: withinMs,
      killSignal: 'SIGKILL',
      ...(cwd === undefined ? {} : { cwd }),
    })
    const out: Buffer[] = []
    let said = ''
    const hear = (chunk: Buffer) => {
      if (log !== undefined) appendFileSync(log, chunk)
      said = `${said}${chunk.toString()}`.slice(-keptCharacters)
    }
    child.stdout.on('data', (chunk: Buffer) => (out.push(chunk), hear(chunk)))
    child.stderr.on('data', hear)
    child.once('error', reject)
    child.once('close', (code, signal) => {
      if (code === 0) return resolve(Buffer.concat(out).toString())
      const how = signal === null ? `status ${code}` : `${signal}, after ${withinMs / 1000} s at most`
      reject(new Error(`${[program, ...args].join(' ').slice(0, 200)}: ended with ${how}: ${said.trim()}`))
    })
    child.stdin.on('error', () => undefined)
    child.stdin.end(input)
  })
}
