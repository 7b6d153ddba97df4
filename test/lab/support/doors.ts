import { randomBytes } from 'node:crypto'
import { freePorts } from '../../../infra/embedded/ports.ts'
import { etc, inLab } from '../../../infra/lab/folders.ts'
import { writeIni, type Ini } from '../../../infra/lab/ini.ts'
import { wsgi } from '../../../infra/lab/keystone.ts'
import { host } from '../../../infra/lab/ports.ts'
import { start, stop, type Program } from '../../../infra/lab/process.ts'
import { answers, eventually } from '../../../infra/lab/ready.ts'
import { rmSync } from 'node:fs'

/**
 * Another door to one of the lab's services: a process of its own on the same database, with settings of its own laid over the
 * lab's, so that a story changes what it must and nobody else notices.
 */
export interface Door {
  url: string
  /** with these settings, and nothing remembered */
  reopen(settings?: Ini): Promise<void>
  close(): Promise<void>
}

/** Like the internal one, which shows locations. */
export async function openGlanceDoor(): Promise<Door> {
  const [port = 0] = await freePorts(1)
  return open('glance', `http://${host}:${port}`, (file, settings) => {
    writeIni(file, { ...settings, DEFAULT: { bind_port: port, ...settings['DEFAULT'] } })
    const files = [etc('glance', 'glance-internal.conf'), file].flatMap((path) => ['--config-file', path])
    return { argv: ['glance-api', ...files], shows: file }
  })
}

export async function openKeystoneDoor(): Promise<Door> {
  const [port = 0] = await freePorts(1)
  return open('keystone', `http://${host}:${port}/v3`, (file, settings) => {
    writeIni(file, settings)
    const env = { OS_KEYSTONE_CONFIG_FILES: `${etc('keystone', 'keystone.conf')};${file}` }
    return wsgi('/usr/bin/keystone-wsgi-public', port, 1, env)
  })
}

async function open(service: string, url: string, program: (file: string, settings: Ini) => Program): Promise<Door> {
  const name = `door-${service}-${randomBytes(3).toString('hex')}`
  const file = inLab('run', `${name}.conf`)
  const door: Door = {
    url,
    async reopen(settings = {}) {
      await stop(name)
      await start(name, program(file, settings))
      const isReady = await eventually(answers(url), { withinMs: 90_000 })
      if (!isReady) throw new Error(`${name} does not answer at ${url}; its log is ${inLab('logs', `${name}.log`)}`)
    },
    async close() {
      await stop(name)
      for (const path of [file, inLab('logs', `${name}.log`)]) rmSync(path, { force: true })
    },
  }
  await door.reopen()
  return door
}
