import * as z from 'zod/mini'
import { Failure, type FailureCode } from '../failures.ts'
import { deepestJson, depthOf } from '../json-depth.ts'
import { outOfTime } from './wait.ts'
import { quote } from './words.ts'

/** What a service's failures are called. */
export interface Service {
  name: string
  unreachable: FailureCode
  refused: FailureCode
}

export interface Call {
  /** the object, in the operator's words: `image ID`, `pool/image@snap` */
  what: string
  method: string
  url: string
  headers?: Record<string, string>
  body?: string | ReadableStream<Uint8Array>
  signal: AbortSignal
  /** null: only `signal` ends it */
  timeoutMs: number | null
}

export interface Answer {
  status: number
  headers: Headers
  /** of the content, lower case, without parameters */
  type: string
  text: string
}

/** A number of bytes, as any service says it. */
export const byteCount = z.int().check(z.nonnegative())

const longestBody = 16 * 1024 * 1024

/**
 * Else fetch keeps a copy of a body for a second request, and of a stream every byte that was sent until it is all sent
 * (Fetch, "HTTP-network-or-cache fetch", step 3: only no window and redirect `error` go without; measured: 1 GiB in memory).
 */
const oneReading = { redirect: 'error', window: null } as const

/** One HTTP exchange. Redirects are answers: a POST that is redirected becomes a GET, and its 200 means nothing. */
export async function exchange(service: Service, call: Call): Promise<Answer> {
  const own = call.timeoutMs === null ? [] : [AbortSignal.timeout(call.timeoutMs)]
  try {
    const response = await fetch(call.url, {
      method: call.method,
      headers: call.headers ?? {},
      redirect: 'manual',
      signal: AbortSignal.any([call.signal, ...own]),
      ...(call.body === undefined ? {} : { body: call.body, duplex: 'half' as const }),
      ...(call.body instanceof ReadableStream ? oneReading : {}),
    })
    const text = await readText(response, service, call)
    const type = (response.headers.get('content-type') ?? '').split(';')[0]?.trim().toLowerCase() ?? ''
    return { status: response.status, headers: response.headers, type, text }
  } catch (error) {
    if (error instanceof Failure) throw error
    if (call.signal.aborted) throw outOfTime(call.what, error)
    throw new Failure(service.unreachable, `${call.what}: ${service.name}: ${reasonOf(error)}`, { cause: error })
  }
}

async function readText(response: Response, service: Service, call: Call): Promise<string> {
  if (!response.body) return ''
  const chunks: Uint8Array[] = []
  let length = 0
  for await (const chunk of response.body as ReadableStream<Uint8Array>) {
    length += chunk.length
    if (length > longestBody) {
      throw new Failure(
        'ANSWER_UNREADABLE',
        `${call.what}: ${service.name} sent more than ${String(longestBody)} bytes`,
      )
    }
    chunks.push(chunk)
  }
  return Buffer.concat(chunks).toString('utf8')
}

/** undici hides the reason one level down: `fetch failed`, cause ECONNREFUSED. */
export function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  if (error.name === 'TimeoutError') return 'no answer in time'
  const code = networkCode(error)
  return code ?? (error.cause instanceof Error ? error.cause.message : error.message)
}

/** ECONNREFUSED, ECONNRESET, ... of a failed fetch. */
export function networkCode(error: unknown): string | undefined {
  if (!(error instanceof Error)) return undefined
  const { code } = error as Error & { code?: unknown }
  return typeof code === 'string' ? code : networkCode(error.cause)
}

/** A status that the caller did not want. `codes` is the adapter's table; what it does not name is passing or a refusal. */
export function refusal(
  service: Service,
  what: string,
  answer: Answer,
  codes: Partial<Record<number, FailureCode>> = {},
): Failure {
  const code = codes[answer.status] ?? (isPassing(answer.status) ? service.unreachable : service.refused)
  const retryInMs = retryAfter(answer.headers)
  return new Failure(
    code,
    `${what}: ${service.name} answered ${String(answer.status)}: ${quote(answer.text)}`,
    retryInMs === undefined ? {} : { retryInMs },
  )
}

const isPassing = (status: number) => status === 408 || status === 425 || status === 429 || status >= 500

/** Seconds, or a date; the date is held against the answer's own, not against our clock. */
function retryAfter(headers: Headers): number | undefined {
  const value = headers.get('retry-after')
  if (value === null) return undefined
  if (/^\d+$/.test(value.trim())) return Number(value) * 1000
  const ms = Date.parse(value) - Date.parse(headers.get('date') ?? '')
  return Number.isNaN(ms) ? undefined : Math.max(0, ms)
}

/** An answer's JSON, checked: an answer of another shape is not guessed at. */
export function decode<S extends z.core.$ZodType>(
  schema: S,
  service: Service,
  what: string,
  answer: Pick<Answer, 'status' | 'text'>,
): z.output<S> {
  const read = z.safeParse(schema, parseJson(answer.text))
  if (read.success) return read.data
  const where = read.error.issues.map((issue) => `${issue.path.join('.')}: ${issue.message}`).slice(0, 3)
  const words = `${what}: ${service.name} answered ${String(answer.status)} with ${quote(answer.text)} (${where.join('; ')})`
  throw new Failure('ANSWER_UNREADABLE', words)
}

/** A cache between us and the service may answer with another object, whose owner is another. @throws Failure ANSWER_UNREADABLE */
export function mustBeAsked(what: string, asked: string, shown: string): void {
  if (shown.toLowerCase() === asked.toLowerCase()) return
  throw new Failure('ANSWER_UNREADABLE', `${what}: the answer is about ${shown}`)
}

/** undefined: it is none, or deeper than any answer of theirs. */
export function parseJson(text: string): unknown {
  if (depthOf(text) > deepestJson) return undefined
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}
