import { connect } from 'amqplib'
import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { readLab } from '../../infra/lab/lab.ts'
import { readBusUrl } from '../../shared/adapters/bus-url.ts'
import type { Notification } from '../../shared/run.ts'
import { startBridgeProcess, type BridgeProcess } from './support/bridge.ts'
import { firstQueue, type FirstQueue } from './support/first-queue.ts'
import { signIn, type Rest } from './support/rest.ts'
import { serversOf, type Servers } from './support/servers.ts'
import { newTenant } from './support/tenants.ts'
import { waitFor } from './support/wait.ts'

/** The bridge on the cloud's own RabbitMQ: what Nova really sends. */
const lab = readLab()
const queue = `rbdsnap-${randomUUID().slice(0, 8)}`
const busUrl = lab.env['RBDSNAP_BUS_URL'] ?? lab.bus.url

let tenant: Awaited<ReturnType<typeof newTenant>>
let rest: Rest
let servers: Servers
let first: FirstQueue
let bridge: BridgeProcess
let server = ''
beforeAll(async () => {
  tenant = await newTenant(lab)
  rest = signIn(lab, tenant.person)
  servers = serversOf(lab, rest)
  server = await servers.boot('bridge-nova', lab.images.plain)
  first = await firstQueue()
  bridge = startBridgeProcess({ ...first.env, RBDSNAP_BUS_URL: busUrl, RBDSNAP_BUS_QUEUE: queue })
  await bridge.untilItSays('"says":"carrying"')
})
afterAll(async () => {
  await bridge.stop()
  const connection = await connect(readBusUrl(lab.bus.url).urls[0] ?? '')
  await (await connection.createChannel()).deleteQueue(queue)
  await connection.close()
  await servers.delete(server)
  await first.close()
  await tenant.remove()
})

const heardOf = (event: string) =>
  first.taken.filter((heard): heard is Notification => {
    return heard.is === 'notification' && heard.event === event && heard.instance === server
  })
const untilHeard = (event: string) =>
  waitFor(
    `${event} in both formats`,
    () => Promise.resolve(heardOf(event)),
    (heard) => {
      return new Set(heard.map((h) => h.format)).size === 2
    },
  )

it('hears in both formats that a server was renamed', async () => {
  await rest.must('PUT', `${lab.nova}/servers/${server}`, { body: { server: { name: 'renamed' } } })
  const heard = await untilHeard('instance.update')
  expect(new Set(heard.map((h) => h.project))).toEqual(new Set([tenant.person.projectId]))
})

it('hears the tag that was put on a server', async () => {
  await servers.setTag(server, 'colour:green')
  await waitFor(
    'the tag is heard',
    () => Promise.resolve(heardOf('instance.update').map((h) => h.tags ?? [])),
    (tags) => tags.some((of) => of.includes('colour:green')),
  )
})

it('parks nothing that Nova sends', () => {
  expect(first.taken.filter((heard) => heard.is === 'unreadable')).toEqual([])
})
