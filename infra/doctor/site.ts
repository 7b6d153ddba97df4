import { type Config, readSettings } from '../../shared/config.ts'
import { credentialsOf } from '../../shared/compose.ts'
import { type Identity, keystone } from '../../shared/adapters/keystone.ts'
import type { Clock } from '../../shared/ports/clock.ts'
import { NotAsked } from './verdict.ts'

/** The site as its settings describe it, as far as they can be read. */
export interface Site {
  env: Record<string, string | undefined>
  clock: Clock
  /** what is wrong with the settings, a line each: `NAME: words` */
  wrong: string[]
  /** neither journal nor queues are named: `rbdsnap up` has its own, over RBDSNAP_DATA_DIR */
  isForUp: boolean
  /** the setting's value, undefined when it is not set and need not be. @throws NotAsked when it is wrong */
  given<K extends keyof Config>(name: K): Config[K]
  /** one and the same, so that a password is tried once; `public`: with the tenants' endpoints */
  identity(side?: 'public'): Identity
  /** the first who asks for `key` makes it */
  once<T>(key: string, make: () => T): T
}

/** @param elsewhere what was wrong before there was an environment to read */
export function siteOf(env: Record<string, string | undefined>, clock: Clock, elsewhere: string[] = []): Site {
  const { config, wrong: here } = readSettings(env)
  const isForUp = ofTheStack.every((line) => here.includes(line))
  const wrong = [...elsewhere, ...here.filter((line) => !isForUp || !ofTheStack.includes(line))]
  const made = new Map<string, unknown>()
  const isWrong = (name: string) => wrong.some((line) => line.split(/[.:]/)[0] === name)

  function given<K extends keyof Config>(name: K): Config[K] {
    if (isWrong(name)) throw new NotAsked(`the setting ${name} is missing or wrong`, `Set ${name}.`)
    return config[name] as Config[K]
  }
  function once<T>(key: string, make: () => T): T {
    if (!made.has(key)) made.set(key, make())
    return made.get(key) as T
  }
  return {
    env,
    clock,
    wrong,
    isForUp,
    given,
    once,
    identity: (side) =>
      once(`identity ${side ?? ''}`, () => {
        for (const name of credentialNames) given(name)
        const credentials = credentialsOf(config as Config)
        return keystone(side === undefined ? credentials : { ...credentials, interface: side }, clock)
      }),
  }
}

const ofTheStack = ['RBDSNAP_JOURNAL: is not set', 'RBDSNAP_QUEUE_PREFIX: is not set']

const credentialNames = [
  'OS_AUTH_URL',
  'OS_USERNAME',
  'OS_PASSWORD',
  'OS_PROJECT_NAME',
  'OS_APPLICATION_CREDENTIAL_ID',
  'OS_APPLICATION_CREDENTIAL_SECRET',
  'OS_INTERFACE',
] as const
