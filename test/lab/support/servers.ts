import type { Lab } from '../../../infra/lab/lab.ts'
import type { Rest } from './rest.ts'
import { waitFor } from './wait.ts'

/** Nova, as its user sees it. */
export interface Server {
  id: string
  name: string
  status: string
  tenant_id: string
  tags: string[]
  'OS-EXT-STS:task_state': string | null
  'OS-EXT-STS:vm_state': string
  fault?: { message: string }
}

export interface Servers {
  /** Boots from an image and waits until it is ACTIVE; `lab.1` is 1 GiB of disk. */
  boot(name: string, image: string, flavor?: string): Promise<string>
  find(id: string): Promise<Server | null>
  /** @throws when there is none */
  show(id: string): Promise<Server>
  list(): Promise<Server[]>
  /** of every project; an administrator's right */
  listAll(): Promise<Server[]>
  /** as `openstack compute service list`; an administrator's right */
  computes(): Promise<{ host: string; state: 'up' | 'down' }[]>
  /** as `openstack server set --tag` */
  setTag(id: string, tag: string): Promise<void>
  unsetTag(id: string, tag: string): Promise<void>
  /** as `openstack server image create`; the id of the queued image */
  createImage(id: string, name: string): Promise<string>
  /** `{ 'os-stop': null }`, `{ pause: null }`, `{ migrate: null }` ... */
  act(id: string, action: Record<string, unknown>): Promise<void>
  console(id: string): Promise<string>
  untilStatus(id: string, status: string, withinMs?: number): Promise<Server>
  /** until Nova is not working on it */
  untilIdle(id: string, withinMs?: number): Promise<Server>
  untilConsoleSays(id: string, words: RegExp, withinMs?: number): Promise<string>
  /** Deletes and waits until Nova no longer knows it. */
  delete(id: string): Promise<void>
}

/** 2.73: tags in the answer, `networks: none` (2.37), and createImage answers with the image's id (2.45). */
const headers = { 'OpenStack-API-Version': 'compute 2.73' }

export function serversOf(lab: Lab, rest: Rest): Servers {
  const url = (id: string) => `${lab.nova}/servers/${id}`
  const servers: Servers = {
    async boot(name, image, flavor = 'lab.1') {
      const server = { name, imageRef: image, flavorRef: flavor, networks: 'none' }
      const made = await rest.must<{ server: { id: string } }>('POST', `${lab.nova}/servers`, {
        body: { server },
        headers,
      })
      await servers.untilStatus(made.server.id, 'ACTIVE')
      return made.server.id
    },
    async find(id) {
      const { status, text } = await rest.call('GET', url(id), { headers })
      if (status === 404) return null
      if (status !== 200) throw new Error(`server ${id}: ${status} ${text.slice(0, 500)}`)
      return (JSON.parse(text) as { server: Server }).server
    },
    async show(id) {
      const server = await servers.find(id)
      if (!server) throw new Error(`server ${id} is gone`)
      return server
    },
    list: () => listed(`${lab.nova}/servers/detail`),
    listAll: () => listed(`${lab.nova}/servers/detail?all_tenants=1`),
    async computes() {
      type Answer = { services: { host: string; state: 'up' | 'down' }[] }
      return (await rest.must<Answer>('GET', `${lab.nova}/os-services?binary=nova-compute`, { headers })).services
    },
    async setTag(id, tag) {
      await rest.must('PUT', `${url(id)}/tags/${encodeURIComponent(tag)}`, { headers })
    },
    async unsetTag(id, tag) {
      await rest.must('DELETE', `${url(id)}/tags/${encodeURIComponent(tag)}`, { headers })
    },
    async createImage(id, name) {
      const body = { createImage: { name, metadata: {} } }
      return (await rest.must<{ image_id: string }>('POST', `${url(id)}/action`, { body, headers })).image_id
    },
    async act(id, action) {
      await rest.must('POST', `${url(id)}/action`, { body: action, headers })
    },
    async console(id) {
      const body = { 'os-getConsoleOutput': {} }
      return (await rest.must<{ output: string }>('POST', `${url(id)}/action`, { body, headers })).output
    },
    untilStatus: (id, status, withinMs) =>
      waitFor(
        `server ${id} is ${status}`,
        async () => {
          const server = await servers.show(id)
          if (server.status === 'ERROR' && status !== 'ERROR')
            throw new Error(`server ${id} went into ERROR: ${server.fault?.message ?? 'Nova does not say why'}`)
          return server
        },
        (server) => server.status === status && server['OS-EXT-STS:task_state'] === null,
        withinMs,
      ),
    untilIdle: (id, withinMs) =>
      waitFor(
        `Nova has done its work on server ${id}`,
        () => servers.show(id),
        (server) => server['OS-EXT-STS:task_state'] === null,
        withinMs,
      ),
    untilConsoleSays: (id, words, withinMs) =>
      waitFor(
        `the console of server ${id} says ${words.source}`,
        () => servers.console(id),
        (said) => words.test(said),
        withinMs,
      ),
    async delete(id) {
      await rest.call('DELETE', url(id), { headers })
      await waitFor(
        `server ${id} is gone`,
        () => servers.find(id),
        (server) => server === null,
      )
    },
  }
  return servers

  async function listed(from: string): Promise<Server[]> {
    return (await rest.must<{ servers: Server[] }>('GET', from, { headers })).servers
  }
}
