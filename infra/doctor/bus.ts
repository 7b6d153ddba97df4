import { type Channel, type ChannelModel, connect } from 'amqplib'
import { type BusSettings, connectOptions, readBusSettings } from '../bridge/settings.ts'
import type { Site } from './site.ts'
import { about, fail, NotAsked, ok, type Verdict, warn } from './verdict.ts'

export function busOf(site: Site): BusSettings {
  return site.once('bus', () => {
    if (!site.env['RBDSNAP_BUS_URL'])
      throw new NotAsked('RBDSNAP_BUS_URL is not set', "Set it where the bridge runs: Nova's transport_url.")
    // where the bridge carries to is the check `queue`
    return readBusSettings(site.env)
  })
}

/** Every node: a bridge goes from one to the next. */
export async function nodes(site: Site): Promise<Verdict[]> {
  const bus = busOf(site)
  const seen = await Promise.all(bus.urls.map((url) => look(url, bus)))
  const isAny = seen.some((node) => node.is === 'there')
  return seen.map((node, at) => {
    const which = bus.nodes[at] ?? ''
    if (node.is === 'there') return about(which, ok(node.words))
    return about(
      which,
      (isAny ? warn : fail)(node.words, 'RBDSNAP_BUS_URL; `rabbitmqctl list_users`, `list_permissions`.'),
    )
  })
}

async function look(url: string, bus: BusSettings): Promise<{ is: 'there' | 'not'; words: string }> {
  try {
    return await talk([url], bus, async (model) => {
      const { product, version } = model.connection.serverProperties
      return { is: 'there', words: `${product} ${version}` }
    })
  } catch (error) {
    return { is: 'not', words: wordsOf(error) }
  }
}

/** Nova declares it when one of its services first talks. */
export async function exchange(site: Site): Promise<Verdict> {
  const bus = busOf(site)
  try {
    await onChannel(bus, (channel) => channel.checkExchange(bus.exchange))
    return ok(`${bus.exchange} is there`)
  } catch (error) {
    return fail(
      wordsOf(error),
      'RBDSNAP_BUS_EXCHANGE is `control_exchange` of nova.conf; is this the virtual host of Nova?',
    )
  }
}

/** The bridge makes and binds it when it starts, so a bridge that is there is a queue that is bound. */
export async function queue(site: Site): Promise<Verdict> {
  const bus = busOf(site)
  try {
    const { messageCount, consumerCount } = await onChannel(bus, (channel) => channel.checkQueue(bus.queue))
    const said = `${bus.queue}: ${messageCount} notifications wait, ${consumerCount} bridges`
    return consumerCount > 0 ? ok(said) : warn(said, 'Start the bridge: `rbdsnap bridge`.')
  } catch (error) {
    const words = wordsOf(error)
    if (words.includes('NOT_FOUND'))
      return warn(
        `${bus.queue} is not there yet: no notification is kept`,
        'Start the bridge, which makes and binds it.',
      )
    return fail(words, `Our user of the bus needs configure, write and read on ${bus.queue}.`)
  }
}

/** On a channel of its own: RabbitMQ closes the channel on which something was refused. */
export async function onChannel<T>(bus: BusSettings, ask: (channel: Channel) => Promise<T>): Promise<T> {
  return talk(bus.urls, bus, async (model) => {
    const channel = await model.createChannel()
    channel.on('error', () => undefined)
    return ask(channel)
  })
}

/** With the first node that lets us in. */
async function talk<T>(urls: string[], bus: BusSettings, ask: (model: ChannelModel) => Promise<T>): Promise<T> {
  const model = await firstOf(urls, bus)
  model.on('error', () => undefined)
  try {
    return await ask(model)
  } finally {
    await model.close().catch(() => undefined)
  }
}

async function firstOf([url = '', ...others]: string[], bus: BusSettings): Promise<ChannelModel> {
  try {
    return await connect(url, connectOptions(bus, 'doctor'))
  } catch (error) {
    if (others.length === 0) throw error
    return firstOf(others, bus)
  }
}

/** amqplib's, which name the user and never the password */
export function wordsOf(error: unknown): string {
  const { message, code } = error as Error & { code?: unknown }
  return message || String(code)
}
