import { startFauxqs } from 'fauxqs'
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import type { Cloud } from '../../infra/cloud/main.ts'
import { checks } from '../../infra/doctor/checks.ts'
import { examine } from '../../infra/doctor/examine.ts'
import { siteOf } from '../../infra/doctor/site.ts'
import type { Finding } from '../../infra/doctor/verdict.ts'
import { queuePrefix, queueSteps } from '../../infra/embedded/queue.ts'
import { visibilityMs } from '../../shared/drive.ts'
import type { Clock } from '../../shared/ports/clock.ts'
import { clock, openTestCloud } from '../contract/embedded-cloud.ts'

type Env = Record<string, string | undefined>

/** An embedded cloud with queues, as `rbdsnap doctor` finds it. */
export interface Patient {
  cloud: Cloud
  queues: Awaited<ReturnType<typeof startFauxqs>>
  folder: string
  env: Env
  /** what one check found, after those that it comes after */
  ask: (check: string, env?: Env, at?: Clock) => Promise<Finding[]>
  all: (env?: Env) => Promise<Finding[]>
  /** a program that answers as `answers` says, by the words in its arguments */
  program: (name: string, answers: Record<string, string>) => string
  close: () => Promise<void>
}

export async function openPatient(): Promise<Patient> {
  const { cloud, close } = await openTestCloud(2)
  const folder = mkdtempSync(join(tmpdir(), 'rbdsnap-doctor-'))
  const queues = await startFauxqs({ port: 0, host: '127.0.0.1', dataDir: join(folder, 'queue'), logger: false })
  queues.createQueue('rbdsnap-dead')
  for (const step of queueSteps) queues.createQueue(`rbdsnap-${step}`, { attributes: attributesOf(step) })
  const endpoint = `http://127.0.0.1:${String(queues.port)}`
  const env: Env = {
    ...cloud.env,
    RBDSNAP_CEPH_COMMAND: `${process.execPath} ${resolve('infra/cloud/ceph-command.ts')}`,
    AWS_ENDPOINT_URL_SQS: endpoint,
    AWS_REGION: 'us-east-1',
    AWS_ACCESS_KEY_ID: 'embedded',
    AWS_SECRET_ACCESS_KEY: 'embedded',
    RBDSNAP_QUEUE_PREFIX: queuePrefix(endpoint),
    RBDSNAP_JOURNAL: `sqlite:${join(folder, 'journal.sqlite')}`,
  }
  const here = (more: Env, at: Clock) => siteOf({ ...env, ...more }, at)
  return {
    cloud,
    queues,
    folder,
    env,
    all: (more = {}) => examine(checks, here(more, clock)),
    async ask(check, more = {}, at = clock) {
      const found = await examine(
        checks.filter(({ name }) => comesBefore(check).has(name)),
        here(more, at),
      )
      return found.filter((finding) => finding.check === check || finding.check.startsWith(`${check} `))
    },
    program(name, answers) {
      const path = join(folder, name)
      const cases = Object.entries(answers).map(([words, script]) => `*"${words}"*) ${script};;`)
      writeFileSync(
        path,
        `#!/bin/sh\ncase "$*" in\n${cases.join('\n')}\n*) echo "no answer to $*" >&2; exit 22;;\nesac\n`,
      )
      chmodSync(path, 0o755)
      return path
    },
    async close() {
      await queues.stop()
      await close()
      rmSync(folder, { recursive: true, force: true })
    },
  }
}

export function attributesOf(step: (typeof queueSteps)[number]): Record<string, string> {
  const redrive = { deadLetterTargetArn: 'arn:aws:sqs:us-east-1:000000000000:rbdsnap-dead', maxReceiveCount: 5 }
  return { VisibilityTimeout: String(visibilityMs(step) / 1000), RedrivePolicy: JSON.stringify(redrive) }
}

function comesBefore(check: string): Set<string> {
  const found = checks.find(({ name }) => name === check)
  if (!found) throw new Error(`there is no check ${check}`)
  return new Set([check, ...(found.after ?? []).flatMap((name) => [...comesBefore(name)])])
}
