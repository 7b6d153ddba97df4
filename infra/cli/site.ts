import { bridgeSettingNames, settingNames } from '../../shared/config.ts'
import { openstackEnv } from './clouds-yaml.ts'

/** What a stack on a real cloud takes from the environment; where its queue and its journal are, it says itself. */
const names = [...new Set([...settingNames, ...bridgeSettingNames, 'NODE_EXTRA_CA_CERTS'])].filter(
  (name) => name !== 'RBDSNAP_JOURNAL' && name !== 'RBDSNAP_QUEUE_PREFIX',
)

/** The settings of the cloud that a person named by OS_AUTH_URL or OS_CLOUD; null without either. @throws Failure BAD_SETTING */
export function siteSettings(env: Record<string, string | undefined>): Record<string, string> | null {
  if (!env['OS_AUTH_URL'] && !env['OS_CLOUD']) return null
  const whole = openstackEnv(env)
  return Object.fromEntries(names.flatMap((name) => (whole[name] ? [[name, whole[name]]] : [])))
}
