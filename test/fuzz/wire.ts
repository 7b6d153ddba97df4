import { AsyncLocalStorage } from 'node:async_hooks'
import { setTimeout as sleep } from 'node:timers/promises'
import { Failure, failures } from '../../shared/failures.ts'
import { Broken, holds } from './target.ts'

/** What a service answers, one after the other, as an input of the fuzzer has it. */
export interface Script {
  call: string
  answers: Told[]
}

export interface Told {
  status: number
  headers: Record<string, string>
  body: string
}

export interface Request {
  method: string
  url: URL
  headers: Headers
  body: string
}

interface Wire {
  answers: Told[]
  requests: Request[]
  controller: AbortController
  mayAsk: (request: Request) => boolean
}

const mostAnswers = 12
const longestMs = 5_000

/** Calls that outlive their caller (a login that others wait for, too) keep the answers of their own input. */
const wires = new AsyncLocalStorage<Wire>()

/** `fetch` as the adapters see it: the same checks of what goes out, the input's answers, and at their end no network. */
async function scriptedFetch(...[to, init]: Parameters<typeof fetch>): Promise<Response> {
  const wire = wires.getStore()
  if (!wire) throw new Error('a request outside of any input')
  // refuses what fetch refuses: headers with line breaks, URLs with credentials
  const { method, url, headers } = new Request(to, init)
  const body = typeof init?.body === 'string' ? init.body : ''
  const request = { method, url: new URL(url), headers, body }
  if (init?.body instanceof ReadableStream) await drained(init.body)
  wire.requests.push(request)
  if (!wire.mayAsk(request)) throw new Strayed(`${method} ${url}`)
  const told = wire.answers.shift()
  if (told) return responseOf(told)
  setImmediate(() => wire.controller.abort())
  throw new TypeError('fetch failed', { cause: Object.assign(new Error('gone'), { code: 'ECONNRESET' }) })
}

class Strayed extends Broken {}

/**
 * Gives an adapter's call its answers. It must end by itself, in time, with what it was asked for or with a Failure that has a code.
 * @returns the call and its end
 */
export async function answered(
  { call, answers }: Script,
  mayAsk: Wire['mayAsk'],
  act: (signal: AbortSignal) => Promise<unknown>,
): Promise<string> {
  globalThis.fetch = scriptedFetch
  const controller = new AbortController()
  const wire: Wire = { answers: answers.slice(0, mostAnswers), requests: [], controller, mayAsk }
  const late = new AbortController()
  const ended = await Promise.race([
    wires
      .run(wire, () => act(controller.signal))
      .then(
        (given) => `gave ${typeof given}`,
        (error: unknown) => codeOf(error),
      ),
    sleep(longestMs, null, { signal: late.signal }).catch(() => null),
  ])
  late.abort()
  holds(ended !== null, `${call} did not end within ${longestMs} ms`)
  const stray = wire.requests.find((request) => !mayAsk(request))
  holds(stray === undefined, `${call} asked ${stray?.method} ${stray?.url.href}`)
  return `${call}: ${ended}`
}

function codeOf(error: unknown): string {
  if (error instanceof Broken) throw error
  holds(error instanceof Failure, `it threw ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`)
  holds(error.code in failures && error.code !== 'UNKNOWN', `its code is ${error.code}`)
  holds(error.words.length <= 503, `its words are ${error.words.length} characters long`)
  return error.code
}

/** What is no script is one answer with that body. */
export function scriptOf(input: string, calls: string[]): Script {
  const read = parsed(input)
  const call = read && typeof read['call'] === 'string' && calls.includes(read['call']) ? read['call'] : calls[0]
  const answers: unknown[] = read && Array.isArray(read['answers']) ? read['answers'] : [{ body: input }]
  return { call: call ?? '', answers: answers.map(toldOf) }
}

function toldOf(value: unknown): Told {
  const { status, headers, body } = (typeof value === 'object' && value !== null ? value : {}) as Partial<Told>
  const isStatus = typeof status === 'number' && Number.isInteger(status) && status >= 200 && status <= 599
  const named = typeof headers === 'object' && headers !== null ? headers : {}
  return {
    status: isStatus ? status : 200,
    headers: named,
    body: typeof body === 'string' ? body : JSON.stringify(body ?? null),
  }
}

/** Headers that no server could send are left out, and so is a body where HTTP has none. */
function responseOf({ status, headers, body }: Told): Response {
  const sent = new Headers()
  for (const [name, value] of Object.entries(headers)) {
    try {
      sent.append(name, value)
    } catch {
      continue
    }
  }
  const isEmpty = [204, 205, 304].includes(status)
  return new Response(isEmpty ? null : body, { status, headers: sent })
}

function parsed(input: string): Record<string, unknown> | null {
  try {
    const value: unknown = JSON.parse(input)
    return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : null
  } catch {
    return null
  }
}

async function drained(body: ReadableStream): Promise<void> {
  const reader = body.getReader() as ReadableStreamDefaultReader<unknown>
  while (!(await reader.read()).done);
}
