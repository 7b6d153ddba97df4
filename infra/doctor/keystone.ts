import * as z from 'zod/mini'
import { decode, exchange, refusal, type Service } from '../../shared/adapters/http.ts'
import type { Site } from './site.ts'
import { fail, ok, type Verdict, warn } from './verdict.ts'

const service: Service = { name: 'Keystone', unreachable: 'KEYSTONE_UNREACHABLE', refused: 'KEYSTONE_REFUSED' }
const soonMs = 14 * 24 * 3_600_000

const tokenShape = z.object({
  token: z.object({
    roles: z.array(z.object({ name: z.string() })),
    project: z.optional(z.object({ name: z.string() })),
    user: z.object({ name: z.string(), password_expires_at: z.optional(z.nullable(z.string())) }),
  }),
})

export async function token(site: Site, signal: AbortSignal): Promise<Verdict> {
  await site.identity().token(signal)
  const who =
    site.given('OS_APPLICATION_CREDENTIAL_ID') === undefined
      ? `user ${site.given('OS_USERNAME') ?? ''}`
      : 'the application credential'
  return ok(`${site.given('OS_AUTH_URL')} gives ${who} a token`)
}

/** What the token says of itself: nobody may be asked about others, everybody about the own one. */
export async function roles(site: Site, signal: AbortSignal): Promise<Verdict> {
  const { roles: held, project, user } = await tokenOf(site, signal)
  const names = held.map((role) => role.name).sort()
  const where = `${user.name} in ${project?.name ?? 'no project'} has ${names.join(', ') || 'no role'}`
  if (!names.includes('admin')) {
    return fail(
      `${where}: not admin`,
      `Glance lets only an admin make another project's image: \`openstack role add --user ${user.name} --project ${project?.name ?? 'service'} admin\`.`,
    )
  }
  const endsAt = Date.parse(user.password_expires_at ?? '')
  if (endsAt - site.clock.nowMs() < soonMs)
    return warn(`${where}; the password expires at ${user.password_expires_at ?? ''}`, 'Change it before.')
  return ok(where)
}

export async function hasRole(site: Site, role: string, signal: AbortSignal): Promise<boolean> {
  return (await tokenOf(site, signal)).roles.some(({ name }) => name === role)
}

async function tokenOf(site: Site, signal: AbortSignal) {
  return site.once('token', async () => {
    const ours = await site.identity().token(signal)
    const what = 'our own token'
    const url = `${site.given('OS_AUTH_URL').replace(/(\/v3)?\/*$/, '')}/v3/auth/tokens?nocatalog`
    const headers = { 'x-auth-token': ours, 'x-subject-token': ours, accept: 'application/json' }
    const answer = await exchange(service, { what, method: 'GET', url, headers, signal, timeoutMs: null })
    if (answer.status !== 200) throw refusal(service, what, answer)
    return decode(tokenShape, service, what, answer).token
  })
}

export async function catalogue(site: Site, signal: AbortSignal): Promise<Verdict> {
  const [image, compute] = await Promise.all([
    site.identity().endpoint('image', signal),
    site.identity().endpoint('compute', signal),
  ])
  return ok(`${site.given('OS_INTERFACE')} endpoints: image ${image}, compute ${compute}`)
}
