import type { Lab, Person } from '../../../infra/lab/lab.ts'

/** A person's own hands on the cloud's REST APIs, independent of the adapters under test. */
export interface Rest {
  /** Any answer: for whoever wants to see a refusal. */
  call(method: string, url: string, options?: Options): Promise<Answer>
  /** The body of a good answer; null when there is none. @throws on any other, with the service's words */
  must<T>(method: string, url: string, options?: Options): Promise<T>
}
export interface Options {
  body?: unknown
  /** sent as it is, in place of a JSON body */
  bytes?: Blob
  headers?: Record<string, string>
}
export interface Answer {
  status: number
  headers: Headers
  text: string
}

/** One a person, however often he signs in: a password costs Keystone a quarter of a second of a processor (bcrypt). */
const tokens = new Map<string, Promise<string>>()

export function signIn(lab: Lab, person: Person): Rest {
  const who = `${lab.authUrl} ${person.name} ${person.projectId}`
  const tokenOf = (): Promise<string> => {
    const token = tokens.get(who) ?? issueToken(lab, person)
    tokens.set(who, token)
    token.catch(() => tokens.delete(who))
    return token
  }
  const send = async (method: string, url: string, options: Options): Promise<Response> => {
    const token = await tokenOf()
    return fetch(url, {
      method,
      headers: { 'x-auth-token': token, 'content-type': 'application/json', ...options.headers },
      ...(options.bytes ? { body: options.bytes } : {}),
      ...(options.body === undefined ? {} : { body: JSON.stringify(options.body) }),
    })
  }
  const rest: Rest = {
    async call(method, url, options = {}) {
      let response = await send(method, url, options)
      if (response.status === 401) {
        await response.body?.cancel()
        tokens.delete(who)
        response = await send(method, url, options)
      }
      return { status: response.status, headers: response.headers, text: await response.text() }
    },
    async must<T>(method: string, url: string, options?: Options) {
      const { status, text } = await rest.call(method, url, options)
      if (status < 200 || status > 299) throw new Error(`${method} ${url}: ${status} ${text.slice(0, 500)}`)
      return (text === '' ? null : JSON.parse(text)) as T
    },
  }
  return rest
}

/** All bytes of a good answer. Not its stream: Node cancels that as soon as nobody holds the answer itself any more (undici). */
export async function download(lab: Lab, person: Person, url: string): Promise<Blob> {
  const response = await fetch(url, { headers: { 'x-auth-token': await issueToken(lab, person) } })
  if (!response.ok) throw new Error(`GET ${url}: ${response.status}`)
  return response.blob()
}

async function issueToken(lab: Lab, { name, password, project }: Person): Promise<string> {
  const domain = { name: 'Default' }
  const response = await fetch(`${lab.authUrl}/auth/tokens`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({
      auth: {
        identity: { methods: ['password'], password: { user: { name, password, domain } } },
        scope: { project: { name: project, domain } },
      },
    }),
  })
  const token = response.headers.get('x-subject-token')
  if (token === null) throw new Error(`${name} cannot sign in: ${response.status} ${await response.text()}`)
  return token
}
