import { spawn, type ChildProcess } from 'node:child_process'
import { resolve } from 'node:path'
import { waitFor } from './wait.ts'

/** The bridge's program, as a site runs it. */
export interface BridgeProcess {
  pid: number
  /** everything that it wrote */
  output: () => string
  untilItSays: (words: string) => Promise<void>
  /** by SIGTERM; the exit status */
  stop: () => Promise<number | null>
  kill: () => Promise<void>
}

const program = resolve(import.meta.dirname, '../../../infra/bridge/main.ts')

export function startBridgeProcess(env: Record<string, string>): BridgeProcess {
  const child = spawn(process.execPath, [program], { env: { ...env, PATH: process.env['PATH'] ?? '' } })
  let output = ''
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (text: Buffer) => (output += text.toString()))
  return {
    pid: child.pid ?? 0,
    output: () => output,
    async untilItSays(words) {
      await waitFor(
        `the bridge says: ${words}`,
        () => Promise.resolve(output),
        (said) => said.includes(words),
        30_000,
      )
    },
    stop: () => ended(child, 'SIGTERM'),
    async kill() {
      await ended(child, 'SIGKILL')
    },
  }
}

async function ended(child: ChildProcess, signal: NodeJS.Signals): Promise<number | null> {
  if (child.exitCode === null && child.signalCode === null) {
    const exit = new Promise((done) => child.once('exit', done))
    child.kill(signal)
    await exit
  }
  return child.exitCode
}
