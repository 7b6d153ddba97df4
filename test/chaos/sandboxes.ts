import { spawn, type ChildProcess } from 'node:child_process'
import { closeSync, openSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join, resolve } from 'node:path'
import { besides, pipeline, type QueueStep } from '../../shared/pipeline.ts'
import type { RunStep } from '../../shared/run.ts'
import type { Clocks } from './clocks.ts'

/**
 * A second engine beside serverless-offline, on the same queues and the same journal: it answers Lambda's API, and runs each function
 * in a process of its own, so that one can be killed while the others go on. Of a function that died the caller hears what
 * Lambda says.
 */
export interface Sandbox {
  step: QueueStep
  child: ChildProcess
  isBusy: boolean
  /** loaded, and heard from */
  isUp: boolean
}

export interface Sandboxes {
  port: number
  all: () => Sandbox[]
  close: () => void
}

const root = resolve(import.meta.dirname, '../..')

export async function openSandboxes(options: {
  env: Record<string, string>
  logPath: string
  clocks: Clocks
  /** what is loaded into each besides */
  imports: string[]
  /** how wrong the clock of the next one is */
  nextSkewMs: () => number
}): Promise<Sandboxes> {
  const { clocks } = options
  const boxes = new Set<Sandbox>()
  const answers = new Map<Sandbox, (answer: unknown) => void>()
  const log = openSync(options.logPath, 'a')
  let born = 0
  let isClosed = false

  function start(step: QueueStep): Sandbox {
    // so many files at most, each free again when its process has read it
    const clock = `function-${born++ % 256}`
    clocks.set(clock, options.nextSkewMs())
    const imports = [join(root, 'infra/embedded/die-with-parent.mjs'), clocks.moduleOf(clock), ...options.imports]
    const flags = ['--disable-warning=ExperimentalWarning', ...imports.flatMap((path) => ['--import', path])]
    const program = [join(import.meta.dirname, 'sandbox.mjs'), join(root, 'dist', `${step}.mjs`)]
    const child = spawn(process.execPath, [...flags, ...program], {
      env: { PATH: process.env['PATH'] ?? '', ...options.env },
      stdio: ['ignore', log, log, 'ipc'],
    })
    const box: Sandbox = { step, child, isBusy: true, isUp: false }
    boxes.add(box)
    child.on('message', (answer) => {
      box.isUp = true
      if (answer !== 'ready') settle(box, answer)
    })
    child.once('exit', (code, signal) => {
      boxes.delete(box)
      settle(box, { errorType: 'Runtime.ExitError', errorMessage: `Runtime exited: ${signal ?? String(code)}` })
    })
    return box
  }

  function settle(box: Sandbox, answer: unknown): void {
    box.isBusy = false
    answers.get(box)?.(answer)
    answers.delete(box)
  }

  async function invoke(step: QueueStep, event: unknown): Promise<unknown> {
    const idle = [...boxes].find((box) => box.step === step && !box.isBusy)
    const box = idle ?? start(step)
    const { timeoutMs } = step in pipeline ? pipeline[step as RunStep] : besides[step as keyof typeof besides]
    box.isBusy = true
    const { promise, resolve: answer } = Promise.withResolvers<unknown>()
    answers.set(box, answer)
    const timer = setTimeout(() => box.child.kill('SIGKILL'), timeoutMs)
    // queued in the channel until the process listens; one that was killed meanwhile says so by its end
    box.child.send({ event, timeoutMs }, () => undefined)
    return promise.finally(() => clearTimeout(timer))
  }

  const server = createServer((request, response) => {
    const step = /functions\/rbdsnap-dev-(\w+)\//.exec(request.url ?? '')?.[1] as QueueStep
    const chunks: Buffer[] = []
    request.on('data', (chunk: Buffer) => chunks.push(chunk))
    request.on('end', () => {
      void invoke(step, JSON.parse(Buffer.concat(chunks).toString())).then((answer) => {
        if (!isClosed) response.end(JSON.stringify(answer))
      })
    })
  })
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done))
  return {
    port: (server.address() as AddressInfo).port,
    all: () => [...boxes],
    close() {
      isClosed = true
      server.close()
      server.closeAllConnections()
      for (const { child } of boxes) child.kill('SIGKILL')
      closeSync(log)
    },
  }
}
