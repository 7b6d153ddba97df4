import { mkdtempSync, rmSync } from 'node:fs'
import { request as httpRequest } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { openCluster } from '../../infra/cloud/cluster.ts'
import { startDashboards } from '../../infra/cloud/dashboard.ts'
import { faultList } from '../../infra/cloud/http.ts'

const gib = 2 ** 30
const features = ['layering', 'exclusive-lock', 'object-map', 'fast-diff', 'deep-flatten']
const gate = { name: 'gate', password: 'lab', scopes: { 'rbd-image': ['read', 'create', 'update', 'delete'] } }
const reader = { name: 'reader', password: 'lab', scopes: { 'rbd-image': ['read'] } }

interface Reply {
  status: number
  type: string | null
  location: string | null
  body: unknown
}

/** A cluster with two managers, and a client of the one at `url`. */
async function lab(more: { cloneFormat?: 1 | 2; heldMs?: number; takeoverMs?: number; respawnMs?: number } = {}) {
  const dataDir = mkdtempSync(join(tmpdir(), 'dashboard-'))
  const { cloneFormat = 1, heldMs = 100, takeoverMs = 120, respawnMs = 60 } = more
  const cluster = openCluster({ dataDir, fsid: 'f', pools: ['vms', 'images'], paxosProposeIntervalMs: 0, cloneFormat })
  const start = () =>
    startDashboards({
      cluster,
      ports: [0, 0],
      faults: faultList(),
      users: [gate, reader],
      dataDir,
      heldMs,
      takeoverMs,
      failoverMs: takeoverMs,
      respawnMs,
    })
  let dashboards = await start()
  let token = ''
  const url = () => dashboards.urls[dashboards.active() === 'x' ? 0 : 1] ?? ''

  async function call(
    method: string,
    path: string,
    body?: unknown,
    headers: Record<string, string> = {},
  ): Promise<Reply> {
    const response = await fetch(`${path.startsWith('http') ? '' : url()}${path}`, {
      method,
      redirect: 'manual',
      headers: {
        accept: 'application/vnd.ceph.api.v1.0+json',
        authorization: `Bearer ${token}`,
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
        ...headers,
      },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    })
    const text = await response.text()
    const type = response.headers.get('content-type')
    const isJson = type?.includes('json') && text !== ''
    return {
      status: response.status,
      type,
      location: response.headers.get('location'),
      body: isJson ? (JSON.parse(text) as unknown) : text,
    }
  }

  async function logIn(name = 'gate', password = 'lab'): Promise<Reply> {
    const reply = await call('POST', '/api/auth', { username: name, password })
    if (reply.status === 201) token = (reply.body as { token: string }).token
    return reply
  }

  let made = 0
  return {
    cluster,
    call,
    logIn,
    dashboards: () => dashboards,
    token: () => token,
    /** A disk with the protected snapshot `s`. */
    async disk(objects = 3): Promise<string> {
      const name = `disk-${(made += 1)}`
      cluster.create('vms', name, 10 * gib)
      for (let at = 0; at < objects; at += 1) cluster.write('vms', name, at * 4 * 2 ** 20, Buffer.from(`${name} ${at}`))
      await cluster.snapCreate('vms', name, 's')
      cluster.snapProtect('vms', name, 's')
      return name
    },
    clone: (name: string, child: string, snap = 's') =>
      call('POST', `/api/block/image/vms%2F${name}/snap/${snap}/clone`, {
        child_pool_name: 'images',
        child_namespace: null,
        child_image_name: child,
        features,
      }),
    async restart() {
      await dashboards.close()
      dashboards = await start()
    },
    async end() {
      await dashboards.close()
      cluster.close()
      rmSync(dataDir, { recursive: true })
    },
  }
}
type Lab = Awaited<ReturnType<typeof lab>>

async function until<T>(look: () => Promise<T> | T, isThere: (found: T) => boolean): Promise<T> {
  for (let tries = 0; tries < 200; tries += 1) {
    const found = await look()
    if (isThere(found)) return found
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
  throw new Error('it never came')
}

let one: Lab
let second: Lab
beforeAll(async () => {
  one = await lab()
  second = await lab({ cloneFormat: 2 })
  for (const each of [one, second]) {
    await each.logIn()
    // the first call configures the manager's RADOS handle
    await each.call('GET', '/api/block/image/vms%2Fnope')
  }
})
afterAll(async () => {
  await one.end()
  await second.end()
})

const image = (name: string, pool = 'vms') => `/api/block/image/${pool}%2F${name}`
/** status, code, component */
const refused = ({ status, body }: Reply) => {
  const { code, component } = body as { code?: unknown; component?: unknown }
  return [status, code, component]
}
const detail = ({ body }: Reply) => (body as { detail: string }).detail

describe('authentication', () => {
  it('a login is 201 with a JWT of 8 hours, and a wrong password 400', async () => {
    const { status, body } = await one.logIn()
    expect(status).toBe(201)
    expect(body).toMatchObject({ username: 'gate', permissions: gate.scopes, sso: false, pwdUpdateRequired: false })
    const claims = JSON.parse(Buffer.from(one.token().split('.')[1] ?? '', 'base64url').toString()) as {
      exp: number
      iat: number
    }
    expect(claims).toMatchObject({ iss: 'ceph-dashboard', username: 'gate' })
    expect(claims.exp - claims.iat).toBe(28_800)
    const wrong = await one.call('POST', '/api/auth', { username: 'gate', password: 'no' })
    expect(wrong).toMatchObject({
      status: 400,
      body: { detail: 'Invalid credentials', code: 'invalid_credentials', component: 'auth' },
    })
  })

  it('401 comes before 415, 403 when the role lacks the scope, 415 for any Accept but one version', async () => {
    const path = image('nope')
    const accept = (value: string) => one.call('GET', path, undefined, { accept: value })
    expect(await one.call('GET', path, undefined, { authorization: '', accept: '*/*' })).toMatchObject({
      status: 401,
      body: { status: '401 Unauthorized', detail: 'You are not authorized to access that resource' },
    })
    expect((await one.call('GET', path, undefined, { authorization: `Bearer ${one.token()}x` })).status).toBe(401)
    for (const value of ['*/*', 'application/json', 'application/vnd.ceph.api.v1.0+json, */*']) {
      expect(detail(await accept(value))).toBe('Unable to find version in request header')
    }
    const version = await accept('application/vnd.ceph.api.v2.0+json')
    expect([version.status, detail(version)]).toEqual([
      415,
      "Incorrect version: endpoint is '1.0', client requested '2.0'",
    ])
    expect((await one.call('GET', '/api/pool')).status).toBe(403)
    const session = (await one.call('POST', '/api/auth', { username: 'reader', password: 'lab' })).body as {
      token: string
    }
    const asReader = { authorization: `Bearer ${session.token}` }
    expect((await one.call('GET', path, undefined, asReader)).status).toBe(404)
    expect((await one.call('POST', `${path}/flatten`, {}, asReader)).status).toBe(403)
  })

  it('a cookie wins over the header, and a logged-out token is 401', async () => {
    expect((await one.call('GET', '/api/task', undefined, { cookie: 'token=bad' })).status).toBe(401)
    const session = (await one.call('POST', '/api/auth', { username: 'gate', password: 'lab' })).body as {
      token: string
    }
    const own = { authorization: `Bearer ${session.token}` }
    expect((await one.call('GET', '/api/task', undefined, own)).status).toBe(200)
    await one.call('POST', '/api/auth/logout', {}, own)
    expect((await one.call('GET', '/api/task', undefined, own)).status).toBe(401)
    const check = await one.call('POST', `/api/auth/check?token=${session.token}`, {})
    expect([check.status, 'login_url' in (check.body as object)]).toEqual([200, true])
  })

  it('ten wrong passwords lock the user until an operator enables it, also across managers', async () => {
    const each = await lab()
    for (let wrong = 0; wrong < 10; wrong += 1) expect((await each.logIn('gate', 'no')).status).toBe(400)
    expect((await each.logIn()).status).toBe(400)
    await each.restart()
    expect((await each.logIn()).status).toBe(400)
    each.dashboards().setUserEnabled('gate', true)
    expect((await each.logIn()).status).toBe(201)
    await each.restart()
    expect((await each.call('GET', '/api/task')).status).toBe(200)
    await each.end()
  })
})

describe('calls', () => {
  it('an image shows size, features, parent, snapshots and their children', async () => {
    const name = await one.disk()
    expect((await one.clone(name, `${name}-c`)).status).toBe(200)
    const reply = await one.call('GET', `${image(name)}?omit_usage=true`)
    expect(reply).toMatchObject({ status: 200, type: 'application/vnd.ceph.api.v1.0+json' })
    expect(reply.body).toMatchObject({
      size: 10 * gib,
      num_objs: 2560,
      obj_size: 4_194_304,
      name,
      pool_name: 'vms',
      namespace: null,
      features: 61,
      parent: null,
      disk_usage: null,
      snapshots: [{ name: 's', is_protected: true, children: [{ pool_name: 'images', image_name: `${name}-c` }] }],
    })
    expect((await one.call('GET', image(name))).body).toMatchObject({ total_disk_usage: 3 * 4_194_304, disk_usage: 0 })
    expect((await one.call('GET', image(`${name}-c`, 'images'))).body).toMatchObject({
      parent: { pool_name: 'vms', pool_namespace: '', image_name: name, snap_name: 's' },
    })
  })

  it('the slash is encoded, once or twice; plain it is another path', async () => {
    const name = await one.disk()
    expect((await one.call('GET', `/api/block/image/vms%252F${name}`)).status).toBe(200)
    const plain = await one.call('GET', `/api/block/image/vms/${name}`)
    expect([plain.status, detail(plain)]).toEqual([404, `The path '/api/block/image/vms/${name}' was not found.`])
  })

  it('a POST needs a Content-Length, an object as its body, and the fields of the call', async () => {
    const name = await one.disk()
    const headers = { accept: 'application/vnd.ceph.api.v1.0+json', authorization: `Bearer ${one.token()}` }
    const bare = await new Promise<number>((resolve) => {
      const asked = httpRequest(
        `${one.dashboards().urls[0]}${image(name)}/flatten`,
        { method: 'POST', headers },
        (response) => {
          resolve(response.resume().statusCode ?? 0)
        },
      )
      asked.removeHeader('transfer-encoding')
      asked.useChunkedEncodingByDefault = false
      asked.end()
    })
    expect(bare).toBe(411)
    expect((await one.call('POST', `${image(name)}/flatten`, null)).status).toBe(500)
    const unknown = await one.call('POST', `${image(name)}/snap`, {
      snapshot_name: 'x',
      mirrorImageSnapshot: false,
      x: 1,
    })
    expect(unknown.status).toBe(500)
    expect(detail(unknown)).toContain("got an unexpected keyword argument 'x'")
    const missing = await one.call('POST', `${image(name)}/snap`, { snapshot_name: 'x' })
    expect([missing.status, 'code' in (missing.body as object)]).toEqual([500, false])
  })

  it('snapshot 201, protect 200 also twice, unprotect 200 also twice, delete 204', async () => {
    const name = await one.disk()
    const snap = `${image(name)}/snap`
    const made = await one.call('POST', snap, { snapshot_name: 'x', mirrorImageSnapshot: false })
    expect([made.status, made.body]).toEqual([201, null])
    for (const is_protected of [true, true, false, false]) {
      expect((await one.call('PUT', `${snap}/x`, { is_protected })).status).toBe(200)
    }
    expect((await one.call('PUT', `${snap}/x`, { new_snap_name: 'y' })).status).toBe(200)
    expect((await one.call('DELETE', `${snap}/y`)).status).toBe(204)
    expect(one.cluster.info('vms', name).snaps.map((each) => each.name)).toEqual(['s'])
  })

  it('flatten, copy and rename do what they say', async () => {
    const name = await one.disk()
    const before = one.cluster.fingerprint('vms', name, 's')
    await one.clone(name, `${name}-c`)
    expect((await one.call('POST', `${image(`${name}-c`, 'images')}/flatten`, {})).status).toBe(200)
    const target = { dest_pool_name: 'images', dest_namespace: null, dest_image_name: `${name}-t`, snapshot_name: 's' }
    expect((await one.call('POST', `${image(name)}/copy`, target)).status).toBe(200)
    expect((await one.call('PUT', image(`${name}-t`, 'images'), { name: `${name}-d` })).status).toBe(200)
    for (const copy of ['c', 'd']) {
      expect(one.cluster.info('images', `${name}-${copy}`).parent).toBeNull()
      expect(one.cluster.fingerprint('images', `${name}-${copy}`, null)).toBe(before)
    }
  })

  it('an image list is version 2.0, five at a time', async () => {
    const reply = await one.call('GET', '/api/block/image?pool_name=vms&limit=-1', undefined, {
      accept: 'application/vnd.ceph.api.v2.0+json',
    })
    expect(reply).toMatchObject({ status: 200, type: 'application/vnd.ceph.api.v2.0+json' })
    expect((reply.body as { pool_name: string }[])[0]?.pool_name).toBe('vms')
    expect((await one.call('GET', '/api/block/image?pool_name=vms')).status).toBe(415)
    expect((await one.call('GET', '/api/block/image/clone_format_version')).body).toBe(1)
  })

  it('the trash: moved, listed, removed, restored', async () => {
    const name = await one.disk()
    expect((await one.call('POST', `${image(name)}/move_trash`, { delay: 60 })).status).toBe(200)
    const listed = (await one.call('GET', '/api/block/image/trash?pool_name=vms')).body as {
      value: { id: string; name: string }[]
    }[]
    const id = listed[0]?.value.find((entry) => entry.name === name)?.id ?? ''
    const entry = `/api/block/image/trash/vms%2F${id}`
    expect(refused(await one.call('DELETE', entry))).toEqual([400, '1', 'rbd'])
    expect(refused(await one.call('DELETE', `${entry}?force=true`))).toEqual([400, '39', 'rbd'])
    expect((await one.call('POST', `${entry}/restore`, { new_image_name: name })).status).toBe(200)
    expect(one.cluster.images('vms')).toContain(name)
  })
})

describe('the same again, and what is missing', () => {
  const missing = image('nope')
  const clone = { child_pool_name: 'images', child_image_name: 'x', features }
  const snap = { snapshot_name: 's', mirrorImageSnapshot: false }

  it.each([
    ['POST', `${missing}/snap`, snap, "error opening image b'nope' at snapshot None"],
    ['PUT', `${missing}/snap/s`, { is_protected: true }, "error opening image b'nope' at snapshot None"],
    ['DELETE', `${missing}/snap/s`, undefined, "error opening image b'nope' at snapshot None"],
    ['POST', `${missing}/snap/s/clone`, clone, 'error creating clone'],
    ['POST', `${missing}/flatten`, {}, "error opening image b'nope' at snapshot None"],
    ['POST', `${missing}/move_trash`, { delay: 0 }, 'error moving image to trash'],
    ['DELETE', '/api/block/image/trash/vms%2Fnope', undefined, 'error deleting image from trash'],
  ])('%s %s is 400/2 rbd', async (method, path, body, words) => {
    const reply = await one.call(method, path, body)
    expect(refused(reply)).toEqual([400, '2', 'rbd'])
    expect(detail(reply)).toBe(`[errno 2] RBD image not found (${words})`)
    expect(reply.body).toMatchObject({ status: 400, task: { name: expect.stringMatching(/^rbd\//) as string } })
  })

  it('GET and DELETE of a missing image are 404, each in its own way', async () => {
    expect(await one.call('GET', missing)).toMatchObject({
      status: 404,
      body: { status: '404 Not Found', detail: 'Image not found' },
    })
    expect(await one.call('DELETE', missing)).toMatchObject({
      status: 404,
      body: { detail: "(404, 'Image not found')", code: 404 },
    })
  })

  it('a missing pool is 400/2 of the pool, for any call', async () => {
    const calls = [
      one.call('GET', image('a', 'nopool')),
      one.call('DELETE', image('a', 'nopool')),
      one.call('POST', `${image('a', 'nopool')}/flatten`, {}),
      one.call('POST', `${image(await one.disk())}/snap/s/clone`, { ...clone, child_pool_name: 'nopool' }),
    ]
    for (const reply of await Promise.all(calls)) {
      expect(refused(reply)).toEqual([400, '2', 'pool'])
      expect(detail(reply)).toBe("[errno 2] RADOS object not found (error opening pool 'nopool')")
    }
  })

  it('what exists is 17', async () => {
    const name = await one.disk()
    await one.clone(name, `${name}-c`)
    const again = await one.call('POST', `${image(name)}/snap`, snap)
    expect(refused(again)).toEqual([400, '17', 'rbd'])
    expect(detail(again)).toBe(`[errno 17] RBD image already exists (error creating snapshot b's' from b'${name}')`)
    expect(await one.clone(name, `${name}-c`)).toMatchObject({
      status: 400,
      body: {
        detail: '[errno 17] RBD image already exists (error creating clone)',
        code: '17',
        component: 'rbd',
        task: { name: 'rbd/clone', metadata: { parent_image_spec: `vms/${name}` } },
      },
    })
    const target = { dest_pool_name: 'images', dest_namespace: null, dest_image_name: `${name}-c`, snapshot_name: 's' }
    expect(refused(await one.call('POST', `${image(name)}/copy`, target))).toEqual([400, '17', 'rbd'])
    const taken = await one.disk()
    expect(refused(await one.call('PUT', image(name), { name: taken }))).toEqual([400, '17', 'rbd'])
  })

  it('flatten of what has no parent, and a clone of what is not protected, are 22', async () => {
    const name = await one.disk()
    const flat = await one.call('POST', `${image(name)}/flatten`, {})
    expect([refused(flat), detail(flat)]).toEqual([
      [400, '22', 'rbd'],
      `[errno 22] RBD invalid argument (error flattening b'${name}')`,
    ])
    one.cluster.snapUnprotect('vms', name, 's')
    expect(refused(await one.clone(name, 'y'))).toEqual([400, '22', 'rbd'])
    const none = { child_pool_name: 'images', child_image_name: 'z', features: [] }
    expect(refused(await one.call('POST', `${image(name)}/snap/s/clone`, none))).toEqual([400, '38', 'rbd'])
  })

  it('a protected snapshot, and one with a child, are 16', async () => {
    const name = await one.disk()
    expect(refused(await one.call('DELETE', `${image(name)}/snap/s`))).toEqual([400, '16', 'rbd'])
    await one.clone(name, `${name}-c`)
    expect(refused(await one.call('PUT', `${image(name)}/snap/s`, { is_protected: false }))).toEqual([400, '16', 'rbd'])
    const busy = await one.call('DELETE', image(name))
    expect(refused(busy)).toEqual([400, '16', 'rbd'])
    expect(detail(busy)).toContain('error unprotecting snapshot')
  })

  it('DELETE of an image in use destroys its snapshots, then fails', async () => {
    const name = await one.disk()
    one.cluster.addWatcher('vms', name)
    const reply = await one.call('DELETE', image(name))
    expect([refused(reply), detail(reply)]).toEqual([
      [400, '16', 'rbd'],
      '[errno 16] RBD image is busy (error removing image)',
    ])
    expect(one.cluster.info('vms', name).snaps).toEqual([])
  })

  it('with clone format 2, a source whose snapshot is gone is answered 404 though it lives', async () => {
    const name = await second.disk()
    await second.clone(name, `${name}-c`)
    expect((await second.call('PUT', `${image(name)}/snap/s`, { is_protected: false })).status).toBe(200)
    const reply = await second.call('DELETE', image(name))
    expect([refused(reply), detail(reply)]).toEqual([
      [400, '39', 'rbd'],
      '[errno 39] RBD image has snapshots (error removing image)',
    ])
    expect((await second.call('GET', image(name))).status).toBe(404)
    expect(
      (await second.call('POST', `${image(name)}/snap`, { snapshot_name: 'n', mirrorImageSnapshot: false })).status,
    ).toBe(201)
    expect((await second.call('GET', image(`${name}-c`, 'images'))).body).toMatchObject({ features: 317 })
    await second.call('POST', `${image(`${name}-c`, 'images')}/flatten`, {})
    expect((await second.call('GET', image(name))).status).toBe(200)
  })
})

describe('tasks', () => {
  it('a long call is answered 202, goes on by itself, and a second one joins it', async () => {
    const name = await one.disk()
    await one.clone(name, `${name}-c`)
    one.dashboards().slow('flatten', 120)
    const flatten = () => one.call('POST', `${image(`${name}-c`, 'images')}/flatten`, {})
    const [first, joined] = await Promise.all([flatten(), flatten()])
    expect(first).toMatchObject({
      status: 202,
      body: { name: 'rbd/flatten', metadata: { image_spec: `images/${name}-c` } },
    })
    expect(joined.status).toBe(202)
    expect((await one.call('GET', '/api/task?name=rbd/flat*')).body).toMatchObject({
      executing_tasks: [{ progress: 0 }],
    })
    one.dashboards().slow('flatten', 0)
    await until(
      () => one.cluster.info('images', `${name}-c`).parent,
      (parent) => parent === null,
    )
    const done = await until(
      async () =>
        (await one.call('GET', '/api/task?name=rbd/flatten')).body as {
          finished_tasks: { success: boolean }[]
          executing_tasks: unknown[]
        },
      (tasks) => tasks.executing_tasks.length === 0,
    )
    expect(done.finished_tasks[0]).toMatchObject({ name: 'rbd/flatten', success: true, progress: 100, exception: null })
    expect(refused(await flatten())).toEqual([400, '22', 'rbd'])
  })

  it('clones of two snapshots to one name join, and one of them is lost', async () => {
    const name = await one.disk()
    await one.cluster.snapCreate('vms', name, 't')
    one.cluster.snapProtect('vms', name, 't')
    one.dashboards().slow('clone', 50)
    const both = await Promise.all([one.clone(name, `${name}-c`, 's'), one.clone(name, `${name}-c`, 't')])
    one.dashboards().slow('clone', 0)
    expect(both.map((reply) => reply.status)).toEqual([200, 200])
    expect(one.cluster.info('images', `${name}-c`).parent?.snap).toBe('s')
  })
})

describe('managers', () => {
  it('a standby answers 303 to the root of the active one, before it looks at a token', async () => {
    const [x = '', y = ''] = one.dashboards().urls
    expect(await one.call('POST', `${y}${image('a')}/flatten`, {}, { authorization: '' })).toMatchObject({
      status: 303,
      location: `${x}/`,
    })
  })

  it('the first calls after a start, in parallel, meet a handle that is being configured', async () => {
    const each = await lab()
    await each.logIn()
    const name = await each.disk()
    const replies = await Promise.all([1, 2, 3].map(() => each.call('GET', image(name))))
    expect(replies.map((reply) => reply.status).sort()).toEqual([200, 400, 400])
    expect(refused(replies.find((reply) => reply.status === 400) as Reply)).toEqual([400, 'RadosStateError', 'pool'])
    expect((await each.call('GET', image(name))).status).toBe(200)
    await each.end()
  })

  it('a kill resets, refuses, lets the standby name the dead one, then show a page, then serve with the same token', async () => {
    const each = await lab({ takeoverMs: 400 })
    await each.logIn()
    const name = await each.disk()
    const [x = '', y = ''] = each.dashboards().urls
    await each.clone(name, `${name}-c`)
    each.dashboards().slow('flatten', 60)
    const flatten = each.call('POST', `${image(`${name}-c`, 'images')}/flatten`, {}).catch((error: unknown) => error)
    await until(
      () => each.cluster.usedBytes('images', `${name}-c`, null),
      (bytes) => bytes > 0,
    )
    each.dashboards().killActive()
    expect(await flatten).toBeInstanceOf(Error)
    await expect(each.call('GET', x)).rejects.toThrow()
    expect(await each.call('GET', y)).toMatchObject({ status: 303, location: `${x}/` })
    expect(
      await until(
        () => each.call('GET', y),
        (reply) => reply.status === 200,
      ),
    ).toMatchObject({
      type: 'text/html;charset=utf-8',
    })
    await until(
      () => each.dashboards().active(),
      (active) => active === 'y',
    )
    expect((await each.call('GET', image(`${name}-c`, 'images'))).body).toMatchObject({ parent: { image_name: name } })
    expect((await each.call('GET', '/api/task?name=rbd/*')).body).toEqual({ executing_tasks: [], finished_tasks: [] })
    await until(
      () => each.call('GET', x).catch(() => null),
      (reply) => reply?.location === `${y}/`,
    )
    each.dashboards().slow('flatten', 0)
    expect((await each.call('POST', `${image(`${name}-c`, 'images')}/flatten`, {})).status).toBe(200)
    each.dashboards().failover()
    await until(
      () => each.dashboards().active(),
      (active) => active === 'x',
    )
    await each.end()
  })

  it.each([
    ['no-parent', 204],
    ['unknown-child', 204],
    ['unopenable', 404],
  ] as const)('a manager killed in a clone leaves it %s; the repeat says 17, DELETE %i', async (form, deleted) => {
    const each = await lab({ takeoverMs: 60 })
    await each.logIn()
    const name = await each.disk()
    each.dashboards().killActive({ halfMadeClone: form })
    await expect(each.clone(name, 'c')).rejects.toThrow()
    await until(
      () => each.dashboards().active(),
      (active) => active === 'y',
    )
    const found = await each.call('GET', image('c', 'images'))
    expect([found.status, (found.body as { parent?: unknown }).parent ?? null]).toEqual(
      form === 'unopenable'
        ? [404, null]
        : [200, form === 'no-parent' ? null : expect.objectContaining({ snap_name: 's' })],
    )
    expect((await each.call('GET', image(name))).body).toMatchObject({ snapshots: [{ children: [] }] })
    expect(refused(await each.clone(name, 'c'))).toEqual([400, '17', 'rbd'])
    expect((await each.call('DELETE', image('c', 'images'))).status).toBe(deleted)
    if (deleted === 404)
      expect((await each.call('POST', `${image('c', 'images')}/move_trash`, { delay: 0 })).status).toBe(200)
    expect((await each.clone(name, 'c')).status).toBe(200)
    await each.end()
  })

  it('a copy whose manager died is there in part, with its right size', async () => {
    const each = await lab({ takeoverMs: 60 })
    await each.logIn()
    const name = await each.disk()
    each.dashboards().slow('copy', 200)
    const target = { dest_pool_name: 'images', dest_namespace: null, dest_image_name: 'd', snapshot_name: 's' }
    expect((await each.call('POST', `${image(name)}/copy`, target)).status).toBe(202)
    each.dashboards().killActive()
    await until(
      () => each.dashboards().active(),
      (active) => active === 'y',
    )
    expect((await each.call('GET', image('d', 'images'))).body).toMatchObject({ size: 10 * gib, parent: null })
    expect(each.cluster.fingerprint('images', 'd', null)).not.toBe(each.cluster.fingerprint('vms', name, 's'))
    await each.end()
  })

  it('twenty calls at once are all answered', async () => {
    const name = await one.disk()
    const replies = await Promise.all(
      Array.from({ length: 20 }, () => one.call('GET', `${image(name)}?omit_usage=true`)),
    )
    expect(new Set(replies.map((reply) => reply.status))).toEqual(new Set([200]))
  })
})
