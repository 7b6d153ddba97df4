import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { keystone } from '../../shared/adapters/keystone.ts'
import { clock as wallClock, openTestCloud, setting } from '../contract/embedded-cloud.ts'
import { cephCalls, glanceCalls, keystoneCalls, novaCalls, type Where } from './calls.ts'
import type { Script, Told } from './wire.ts'

/** `node test/fuzz/capture.ts`: what the embedded cloud answers to each call of the adapters, into seeds/. */
const kept = ['content-type', 'location', 'retry-after', 'x-subject-token', 'date']

// the world that it begins with has the instance and the image of events/
const { cloud, close } = await openTestCloud(1)
const where: Where = {
  keystone: setting(cloud, 'OS_AUTH_URL'),
  nova: cloud.urls.nova,
  glance: cloud.urls.glance,
  ceph: setting(cloud, 'RBDSNAP_CEPH_URLS').split(','),
  user: setting(cloud, 'OS_USERNAME'),
  password: setting(cloud, 'OS_PASSWORD'),
  cephUser: setting(cloud, 'RBDSNAP_CEPH_USER'),
  cephPassword: setting(cloud, 'RBDSNAP_CEPH_PASSWORD'),
}
const identity = keystone(
  { authUrl: where.keystone, username: where.user, password: where.password, projectName: 'service' },
  wallClock,
)
await identity.token(AbortSignal.timeout(10_000))

const trueFetch = globalThis.fetch
let heard: Told[] = []
globalThis.fetch = async (...about) => {
  const answer = await trueFetch(...about)
  const body = await answer.text()
  const headers = Object.fromEntries([...answer.headers].filter(([name]) => kept.includes(name)))
  heard.push({ status: answer.status, headers, body })
  return new Response([204, 304].includes(answer.status) ? null : body, answer)
}

async function capture(calls: Record<string, (signal: AbortSignal) => Promise<unknown>>): Promise<Script[]> {
  const scripts: Script[] = []
  for (const [call, act] of Object.entries(calls)) {
    heard = []
    // an answer that is a refusal is a seed like any other
    await act(AbortSignal.timeout(10_000)).catch(() => undefined)
    scripts.push({ call, answers: heard })
  }
  return scripts
}

const seeds = {
  keystone: await capture(keystoneCalls(where)),
  nova: await capture(novaCalls(where, identity)),
  glance: await capture(glanceCalls(where, identity)),
  ceph: await capture(cephCalls(where)),
}
globalThis.fetch = trueFetch
await close()
const text = JSON.stringify(seeds, null, 1)
  .replace(/http:\/\/127\.0\.0\.1:\d+/g, 'http://service.test')
  // a token of none, which says for how long it is good
  .replace(/eyJ[\w-]+\.[\w-]+\.[\w-]+/g, `e30.${Buffer.from('{"iat":0,"exp":28800}').toString('base64url')}.no`)
  .replace(/gAAAAA[\w-]+=*/g, 'a-token-of-none')
writeFileSync(join(import.meta.dirname, 'seeds', 'answers.json'), `${text}\n`)
