import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { parse } from 'yaml'
import { settingNames } from '../../shared/config.ts'
import { mostReceives, visibilityMs } from '../../shared/drive.ts'
import { besides, cephAtOnce, pipeline, type QueueStep } from '../../shared/pipeline.ts'
import { message } from '../../shared/run.ts'

interface SqsEvent {
  arn: unknown
  batchSize: number
  maximumConcurrency?: number
  functionResponseType: string
}
interface LambdaFunction {
  handler: string
  timeout: number
  reservedConcurrency?: number
  package: { patterns: string[] }
  events: {
    sqs?: SqsEvent
    schedule?: { rate: string[]; input: { Records: { messageId: string; body: string }[] } }
    httpApi?: unknown
  }[]
}
interface Service {
  service: string
  provider: { runtime: string; environment: Record<string, string> }
  functions: Record<string, LambdaFunction>
  resources: { Resources: Record<string, { Type: string; Properties: Record<string, unknown> }> }
}

const yml = parse(readFileSync('serverless.yml', 'utf8')) as Service
const table = { ...besides, ...pipeline }
const steps = Object.keys(table) as QueueStep[]
const resourceOf = (step: string, kind: 'Queue' | 'Dead') => `${step.charAt(0).toUpperCase()}${step.slice(1)}${kind}`

test('the functions are the steps, the door, the switch, the broom and status', () => {
  expect(Object.keys(yml.functions).sort()).toEqual([...steps, 'status'].sort())
  expect(yml.service).toBe('rbdsnap')
  expect(yml.provider.runtime).toBe('nodejs24.x')
})

describe.each(steps)('%s', (step) => {
  const fn = yml.functions[step]
  const sqs = fn?.events.find((event) => event.sqs)?.sqs

  test('runs its own bundle and nothing else', () => {
    expect(fn).toMatchObject({ handler: `dist/${step}.handler`, package: { patterns: [`dist/${step}.mjs`] } })
  })

  test("has the table's timeout", () => {
    expect(fn?.timeout).toBe(table[step].timeoutMs / 1000)
  })

  test('takes one message at a time from its own queue and says which failed', () => {
    expect(sqs).toMatchObject({
      arn: { 'Fn::GetAtt': [resourceOf(step, 'Queue'), 'Arn'] },
      batchSize: 1,
      functionResponseType: 'ReportBatchItemFailures',
    })
  })

  test('runs as many at once as the table says, by the setting that AWS allows for that number', () => {
    const { parallel } = table[step]
    expect(fn?.reservedConcurrency).toBe(parallel === 1 ? 1 : undefined)
    expect(sqs?.maximumConcurrency).toBe(parallel === 1 ? undefined : parallel)
  })

  test('has a queue that hides a message until its function and its claim are over, and a dead-letter queue', () => {
    expect(yml.resources.Resources[resourceOf(step, 'Queue')]).toMatchObject({
      Type: 'AWS::SQS::Queue',
      Properties: {
        QueueName: `rbdsnap-\${sls:stage}-${step}`,
        VisibilityTimeout: visibilityMs(step) / 1000,
        RedrivePolicy: {
          maxReceiveCount: mostReceives,
          deadLetterTargetArn: { 'Fn::GetAtt': [resourceOf(step, 'Dead'), 'Arn'] },
        },
      },
    })
    expect(yml.resources.Resources[resourceOf(step, 'Dead')]).toMatchObject({
      Type: 'AWS::SQS::Queue',
      Properties: { QueueName: `rbdsnap-\${sls:stage}-${step}-dead` },
    })
  })
})

test('there are no other queues', () => {
  const expected = steps.flatMap((step) => [resourceOf(step, 'Queue'), resourceOf(step, 'Dead')])
  expect(Object.keys(yml.resources.Resources).sort()).toEqual(expected.sort())
})

test('the environment hands on every setting, and the address of a queue that is not AWS', () => {
  const { environment } = yml.provider
  expect(Object.keys(environment).sort()).toEqual([...settingNames, 'AWS_ENDPOINT_URL_SQS'].sort())
  for (const [name, value] of Object.entries(environment)) expect(value).toBe(`\${env:${name}, ''}`)
})

test('the schedule brings the broom a message that it understands', () => {
  const schedule = yml.functions['sweep']?.events.find((event) => event.schedule)?.schedule
  expect(schedule?.rate).toEqual(['rate(1 minute)'])
  const bodies = schedule?.input.Records.map((record) => message.parse(JSON.parse(record.body))) ?? []
  expect(bodies).toEqual([{ v: 1, step: 'sweep' }])
})

test('no step alone overruns a Ceph manager', () => {
  expect(cephAtOnce).toBeLessThanOrEqual(8)
  for (const [step, { parallel }] of Object.entries(pipeline)) expect(parallel, step).toBeLessThanOrEqual(cephAtOnce)
})
