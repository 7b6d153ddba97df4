import { readFileSync } from 'node:fs'
import type { Identity } from '../../shared/adapters/keystone.ts'
import { commandCalls } from '../../shared/adapters/rbd-commands.ts'
import { decodeReply } from '../../shared/adapters/nova-rpc.ts'
import { openstackEnv } from '../../infra/cli/clouds-yaml.ts'
import { readConfig } from '../../shared/config.ts'
import { Failure } from '../../shared/failures.ts'
import { hear } from '../../shared/notification.ts'
import { explain } from '../../shared/rules.ts'
import { cephCalls, glanceCalls, keystoneCalls, novaCalls } from './calls.ts'
import type { Target } from './target.ts'
import { cephTarget, glanceTarget, identity, keystoneTarget, novaTarget, where } from './targets/answers.ts'
import { cloudsTarget } from './targets/clouds-yaml.ts'
import { commandTarget } from './targets/command.ts'
import { configTarget } from './targets/config.ts'
import { messageTarget } from './targets/message.ts'
import { notificationTarget } from './targets/notification.ts'
import { rpcTarget } from './targets/rpc.ts'
import { rulesTarget } from './targets/rules.ts'

/** Each target with a fault in what it feeds, of the kind that people make. */
export const planted: Record<string, () => Target> = {
  'notification: a project whose name is a path': () =>
    notificationTarget((body) => {
      const heard = hear(body)
      if (heard.is === 'notification' && heard.project?.includes('/')) throw new TypeError('a path')
      return heard
    }),
  'message: the log gets it as it came': () => messageTarget((body) => void process.stdout.write(`${body}\n`)),
  'rules: a pattern is taken for a regular expression': () =>
    rulesTarget((heard, rules) => {
      const first = rules.rules.find(({ events }) =>
        events.some((pattern) => new RegExp(`^${pattern.replaceAll('*', '.*')}$`).test(heard.event)),
      )
      return { ...explain(heard, rules), rule: first ?? null } as ReturnType<typeof explain>
    }),
  'config: a value that is wrong is said': () =>
    configTarget((env) => {
      try {
        return readConfig(env)
      } catch (error) {
        if (!(error as Failure).words.includes('RBDSNAP_BUS_URL: must')) throw error
        throw new Failure('BAD_SETTING', `RBDSNAP_BUS_URL: not ${env['RBDSNAP_BUS_URL'] ?? ''}`)
      }
    }),
  'keystone: the endpoint of a catalogue is tried out, wherever it is': () =>
    keystoneTarget({
      endpoint: async (signal) => {
        const url = (await keystoneCalls(where)['endpoint']?.(signal)) as string
        if (!url.startsWith('http://service.test')) await fetch(url)
      },
    }),
  'nova: a server has a tag': () =>
    novaTarget({
      find: async (signal) => ((await own(novaCalls, 'find')(signal)) as { tags: string[] } | null)?.tags[0]?.at(0),
      tagged: async (signal) =>
        ((await own(novaCalls, 'tagged')(signal)) as { host: string }[]).map((s) => s.host.at(0)),
    }),
  'glance: an image of a server names it': () =>
    glanceTarget({
      find: async (signal) => {
        const image = (await own(glanceCalls, 'find')(signal)) as { properties: Record<string, string> } | null
        return (image?.properties as { instance_uuid: string } | undefined)?.instance_uuid.at(0)
      },
    }),
  'ceph: a disk is there': () =>
    cephTarget({
      find: async (signal) => ((await cephCalls(where)['find']?.(signal)) as { sizeBytes: number }).sizeBytes,
    }),
  'rpc: a reply is what it should be': () =>
    rpcTarget((body) => {
      JSON.parse(body.toString())
      return decodeReply(body)
    }),
  'command: an image has a snapshot': () =>
    commandTarget((options) => {
      const calls = commandCalls(options)
      const look: typeof calls.look = async (image, signal) => {
        const seen = await calls.look(image, signal)
        if (seen.is === 'there') (seen.state.snaps[0] as { name: string }).name.at(0)
        return seen
      }
      return { ...calls, look }
    }),
  'clouds-yaml: the fault is shown with its line': () =>
    cloudsTarget((env) => {
      try {
        return openstackEnv(env)
      } catch {
        throw new Failure('BAD_SETTING', readFileSync(env['OS_CLIENT_CONFIG_FILE'] ?? '', 'utf8'))
      }
    }),
}

function own(calls: (at: typeof where, who: Identity) => ReturnType<typeof novaCalls>, name: string) {
  const call = calls(where, identity)[name]
  if (!call) throw new Error(`no call ${name}`)
  return call
}
