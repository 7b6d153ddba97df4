import { readBusUrl } from '../../../shared/adapters/bus-url.ts'
import { readBridgeConfig, readConfig, settingNames } from '../../../shared/config.ts'
import { Failure } from '../../../shared/failures.ts'
import { holds, type Target } from '../target.ts'

/** An environment, as JSON: it can be used, or every fault is named and no value is said. */
export function configTarget(read = readConfig): Target {
  return {
    name: 'config',
    covers: ['shared/config.ts', 'shared/adapters/bus-url.ts'],
    seeds: () =>
      [whole, { ...whole, RBDSNAP_GUEST: 'libvirt' }, {}, { RBDSNAP_BUS_URL: 'abbit://' }].map((env) =>
        JSON.stringify(env),
      ),
    feed(input) {
      const env = envOf(input)
      const acts: Act[] = [
        (given) => use(read(given)),
        (given) => void readBridgeConfig(given),
        (given) => void readBusUrl(given['RBDSNAP_BUS_URL'] ?? ''),
      ]
      return acts.map((act) => endOf(act, env)).join(' / ')
    },
  }
}

type Env = Record<string, string>
type Act = (env: Env) => void

/** What is accepted is what is used: each URL is one that can be asked. */
function use(config: ReturnType<typeof readConfig>): void {
  for (const url of [config.OS_AUTH_URL, config.RBDSNAP_QUEUE_PREFIX, ...config.RBDSNAP_CEPH_URLS]) {
    try {
      new Request(url)
    } catch {
      holds(false, `a URL that fetch refuses was accepted`)
    }
  }
}

function endOf(act: Act, env: Env): string {
  const error = failureOf(act, env)
  if (!error) return 'read'
  holds(error.code === 'BAD_SETTING', `its code is ${error.code}`)
  const said = secrets.find((name) => isSaid(env[name] ?? '', error, () => failureOf(act, { ...env, [name]: '?' })))
  holds(said === undefined, `the value of ${said} is said`)
  return error.words.slice(0, 60)
}

/** What is said of any other value as well, in `rabbit://USER:PASSWORD@...` say, are our own words. */
function isSaid(value: string, { message }: Failure, ofAnother: () => Failure | null): boolean {
  return value.length >= 8 && message.includes(value) && !ofAnother()?.message.includes(value)
}

function failureOf(act: Act, env: Env): Failure | null {
  try {
    act(env)
    return null
  } catch (error) {
    if (!(error instanceof Failure)) throw error
    return error
  }
}

const secrets = settingNames.filter((name) => /PASSWORD|SECRET|_URL/.test(name))

/** The one setting that names a file to read has a target of its own. */
function envOf(input: string): Env {
  try {
    const value: unknown = JSON.parse(input)
    const entries =
      typeof value === 'object' && value !== null ? Object.entries(value) : [['OS_AUTH_URL', input] as const]
    return Object.fromEntries(
      entries.filter(([name]) => name !== 'RBDSNAP_RULES').map(([name, v]) => [name, String(v)]),
    )
  } catch {
    return { ...whole, RBDSNAP_BUS_URL: input, OS_AUTH_URL: input }
  }
}

const whole = {
  OS_AUTH_URL: 'https://keystone.example:5000/v3',
  OS_USERNAME: 'rbdsnap',
  OS_PASSWORD: 'correct-horse-battery',
  OS_PROJECT_NAME: 'service',
  RBDSNAP_CEPH_URLS: 'https://mgr-a.example:8443, https://mgr-b.example:8443',
  RBDSNAP_CEPH_FSID: 'c1aefb3a-6f4b-4bb3-9f1a-5e6f7a8b9c0d',
  RBDSNAP_CEPH_USER: 'rbdsnap',
  RBDSNAP_CEPH_PASSWORD: 'staple-of-the-dashboard',
  RBDSNAP_BUS_URL: 'rabbit://nova:secret-of-the-bus@a.example:5672,b.example/v?ssl=1',
  RBDSNAP_FREEZE_BUDGET_MS: '5000',
  RBDSNAP_JOURNAL: 'sqlite:/tmp/j',
  RBDSNAP_QUEUE_PREFIX: 'http://127.0.0.1:4566/000000000000/rbdsnap-',
  RBDSNAP_LIBVIRT_URI: 'qemu+tls://{host}/system',
}
