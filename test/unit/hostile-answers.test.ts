import { gzipSync } from 'node:zlib'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { cephDashboard } from '../../shared/adapters/ceph-dashboard.ts'
import { glance } from '../../shared/adapters/glance.ts'
import { exchange, parseJson, type Service } from '../../shared/adapters/http.ts'
import type { Identity } from '../../shared/adapters/keystone.ts'
import { nova } from '../../shared/adapters/nova.ts'
import { quote } from '../../shared/adapters/words.ts'
import { json, scriptedService, type ScriptedService } from '../support/scripted-service.ts'
import { image, instance, project } from './given.ts'

const mebibyte = 1024 * 1024
const service: Service = { name: 'Glance', unreachable: 'GLANCE_UNREACHABLE', refused: 'GLANCE_REFUSED' }
const identity: Identity = {
  token: () => Promise.resolve('a-token-of-none'),
  forget: () => undefined,
  endpoint: () => Promise.reject(new Error('no endpoint was expected')),
  user: () => Promise.resolve('u'),
}
const signal = () => AbortSignal.timeout(10_000)

let here: ScriptedService
let elsewhere: ScriptedService
beforeAll(async () => {
  here = await scriptedService()
  elsewhere = await scriptedService()
})
afterAll(() => Promise.all([here.close(), elsewhere.close()]))

const get = (timeoutMs: number | null, patience = signal()) =>
  exchange(service, { what: 'image', method: 'GET', url: here.url, signal: patience, timeoutMs })

const shownImage = { ...{ id: image().id, name: 'n', status: 'queued', owner: project, protected: false }, size: null }
const imageAnswer = { ...shownImage, created_at: '2026-11-23T10:00:00Z', updated_at: '2026-11-23T10:00:00Z' }
const serverAnswer = {
  id: instance,
  name: 's',
  tenant_id: project,
  user_id: 'u',
  image: '',
  flavor: { disk: 1 },
  tags: ['snapshot'],
  'OS-EXT-STS:vm_state': 'active',
  'OS-EXT-STS:task_state': null,
}

describe('an answer', () => {
  it('that is small on the wire and endless when it is unpacked is read no further than 16 MiB', async () => {
    const bomb = gzipSync(Buffer.alloc(64 * mebibyte), { level: 1 })
    here.answer((_, response) => response.writeHead(200, { 'content-encoding': 'gzip' }).end(bomb))
    const beforeBytes = process.memoryUsage().arrayBuffers
    await expect(get(30_000, AbortSignal.timeout(30_000))).rejects.toMatchObject({ code: 'ANSWER_UNREADABLE' })
    expect((process.memoryUsage().arrayBuffers - beforeBytes) / mebibyte).toBeLessThan(48)
  }, 60_000)

  it.each(['gzip, gzip, gzip, gzip, gzip, gzip', 'gzip, br', 'no-such-coding'])(
    'packed as %s has a code',
    async (coding) => {
      here.answer((_, response) => response.writeHead(200, { 'content-encoding': coding }).end(gzipSync('[]')))
      await get(2_000).catch((error: unknown) => expect(error).toMatchObject({ code: 'GLANCE_UNREACHABLE' }))
    },
  )

  it('that comes a byte at a time has the time of one that does not come at all', async () => {
    here.answer((_, response) => {
      const drip = setInterval(() => response.write(' '), 10)
      response.on('close', () => clearInterval(drip))
    })
    const startedAt = performance.now()
    await expect(get(200)).rejects.toMatchObject({ code: 'GLANCE_UNREACHABLE' })
    await expect(get(null, AbortSignal.timeout(200))).rejects.toMatchObject({ code: 'TIMEOUT' })
    expect(performance.now() - startedAt).toBeLessThan(5_000)
  })

  it.each(['[', '{"a":', '[{"a":'])('nested a hundred thousand deep is none: %s', (open) => {
    const text = open.repeat(100_000)
    expect(parseJson(text)).toBeUndefined()
  })

  it('with a property nested deeper than any is not read, where showing it would overflow the stack', async () => {
    const deep = `${'['.repeat(50_000)}${']'.repeat(50_000)}`
    const body = JSON.stringify(imageAnswer).replace('{', `{"x":${deep},`)
    here.answer((_, response) => response.writeHead(200, { 'content-type': 'application/json' }).end(body))
    const find = glance(identity, { endpoint: here.url }).find(image().id, signal())
    await expect(find).rejects.toMatchObject({ code: 'ANSWER_UNREADABLE' })
  })

  it.each(['<head', '<script>', '<style ', '<', '<a', 'eyJ', 'eyJa.', 'gAAAAA', ' \n', '</head>', '<head>x</head>'])(
    'is quoted in no time when it is 1 MiB of %j',
    (piece) => {
      const before = process.cpuUsage()
      expect(quote(piece.repeat(Math.ceil(mebibyte / piece.length))).length).toBeLessThanOrEqual(200)
      expect(process.cpuUsage(before).user / 1_000).toBeLessThan(2_000)
    },
  )

  it('is quoted without its markup, styles and scripts', () => {
    const page = '<html><HEAD><title>t</title></Head><style>s</style>502 <b>Bad</b> Gateway<script>x</script></html>'
    expect(quote(page)).toBe('502 Bad Gateway')
    expect(quote('a < b')).toBe('a < b')
    expect(quote('<script>never closed')).toBe('never closed')
  })
})

describe('a service that answers about something else', () => {
  it('is not believed: Nova about another server', async () => {
    here.answer(json({ server: { ...serverAnswer, id: '00000000-0000-4000-8000-00000000000b' } }))
    const find = nova(identity, { endpoint: here.url }).find(instance, signal())
    await expect(find).rejects.toMatchObject({ code: 'ANSWER_UNREADABLE' })
  })

  it('is not believed: Glance about another image', async () => {
    here.answer(json({ ...imageAnswer, id: '00000000-0000-4000-8000-00000000000b' }))
    const images = glance(identity, { endpoint: here.url })
    await expect(images.find(image().id, signal())).rejects.toMatchObject({ code: 'ANSWER_UNREADABLE' })
    const change = images.setProtected(image().id, true, signal())
    await expect(change).rejects.toMatchObject({ code: 'ANSWER_UNREADABLE' })
  })

  it('is believed about the one that was asked for', async () => {
    here.answer(json({ server: serverAnswer }))
    expect(await nova(identity, { endpoint: here.url }).find(instance.toUpperCase(), signal())).toMatchObject({
      id: instance,
    })
  })
})

describe('a list that leads back to its own beginning', () => {
  it('ends: servers with a tag', async () => {
    here.answer(json({ servers: [serverAnswer], servers_links: [{ rel: 'next' }] }))
    const tagged = nova(identity, { endpoint: here.url }).tagged('snapshot', signal())
    await expect(tagged).rejects.toMatchObject({ code: 'ANSWER_UNREADABLE' })
    expect(here.asked.length).toBe(2)
  })

  it('ends: images of an instance', async () => {
    here.answer(json({ images: [imageAnswer], next: '/v2/images?marker=x' }))
    const images = glance(identity, { endpoint: here.url }).ofInstance(instance, image().owner, signal())
    await expect(images).rejects.toMatchObject({ code: 'ANSWER_UNREADABLE' })
    expect(here.asked.length).toBe(2)
  })
})

it('a list whose marker was deleted between two pages is asked for again later, and is no refusal', async () => {
  const first = json({ images: [imageAnswer], next: '/v2/images?marker=x' })
  const lost = json({ message: 'Invalid marker' }, 400)
  here.answer((request, response) => (request.url?.includes('marker=') ? lost : first)(request, response))
  const images = glance(identity, { endpoint: here.url }).ofInstance(instance, project, signal())
  await expect(images).rejects.toMatchObject({ code: 'GLANCE_UNREACHABLE' })
  expect(here.asked[0]?.line).toBe(
    `GET /v2/images?instance_uuid=${instance}&owner=${project}&limit=200&sort=created_at%3Adesc`,
  )
})

it('an image says which stores hold it, where Glance does', async () => {
  for (const [stores, expected] of [
    ['rbd,file', ['rbd', 'file']],
    ['', []],
    [undefined, []],
  ] as const) {
    here.answer(json({ ...imageAnswer, stores }))
    const found = await glance(identity, { endpoint: here.url }).find(image().id, signal())
    expect(found?.stores).toEqual(expected)
  }
})

describe('a size', () => {
  it.each([-1, 0.5, 1e300])('of %d bytes is none', async (size) => {
    here.answer(json({ ...imageAnswer, size }))
    const find = glance(identity, { endpoint: here.url }).find(image().id, signal())
    await expect(find).rejects.toMatchObject({ code: 'ANSWER_UNREADABLE' })
  })
})

it.each<[string, unknown, boolean | null]>([
  ['some', [{ pool_name: 'vms', image_name: 'x' }], true],
  ['none', [], false],
  ['nothing of them', undefined, null],
])('a dashboard that says %s of the clones of a snapshot is not taken for more', async (_what, children, isUsed) => {
  const media = { 'content-type': 'application/vnd.ceph.api.v1.0+json' }
  const claims = Buffer.from(JSON.stringify({ iat: 0, exp: 3_600 })).toString('base64url')
  const shown = { size: 1, parent: null, snapshots: [{ name: 'snap', size: 1, is_protected: true, children }] }
  here.answer((request, response) => {
    const isLogin = request.url === '/api/auth'
    json(isLogin ? { token: `none.${claims}.none` } : shown, isLogin ? 201 : 200, media)(request, response)
  })
  const account = { user: 'rbdsnap', password: 'correct-horse-battery', fsid: 'f', clock: { nowMs: () => 0 } }
  const state = await cephDashboard({ urls: [here.url], ...account }).find({ pool: 'images', image: 'x' }, signal())
  expect(state?.snaps).toMatchObject([{ name: 'snap', isUsed }])
})

describe('a dashboard that sends us elsewhere', () => {
  const volumes = (...urls: string[]) =>
    cephDashboard({
      urls,
      user: 'rbdsnap',
      password: 'correct-horse-battery',
      fsid: 'f',
      clock: { nowMs: () => 0 },
    })
  const disk = { pool: 'vms', image: `${instance}_disk` }

  it.each(['/', '/api/auth', '//user@'])('is not followed to a host that is not configured (%s)', async (path) => {
    elsewhere.answer(json({ token: 'x' }, 201, { 'content-type': 'application/vnd.ceph.api.v1.0+json' }))
    const { host } = new URL(elsewhere.url)
    const location = path === '//user@' ? `//user@${host}/` : `${elsewhere.url}${path}`
    here.answer((_, response) => response.writeHead(303, { location }).end())
    await expect(volumes(here.url).find(disk, signal())).rejects.toMatchObject({ code: 'CEPH_UNREACHABLE' })
    expect(elsewhere.asked).toEqual([])
  })

  it('is followed to another of its managers', async () => {
    elsewhere.answer((_, response) => response.writeHead(403).end())
    here.answer((_, response) => response.writeHead(303, { location: `${elsewhere.url}/` }).end())
    await volumes(here.url, elsewhere.url)
      .find(disk, signal())
      .catch(() => undefined)
    expect(elsewhere.asked[0]?.line).toBe('POST /api/auth')
  })
})
