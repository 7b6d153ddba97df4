import { execFile, spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type Cluster, openCluster } from '../../infra/cloud/cluster.ts'
import { faultList } from '../../infra/cloud/http.ts'
import { serveRbd } from '../../infra/cloud/rbd-endpoint.ts'
import { openRbdTasks, type RbdTasks } from '../../infra/cloud/rbd-tasks.ts'

const mib = 2 ** 20
const home = mkdtempSync(join(tmpdir(), 'rbd-'))
const program = join(import.meta.dirname, '../../infra/cloud/rbd-command.ts')
const conf = join(home, 'a.conf')
const otherConf = join(home, 'b.conf')

let a: Cluster
let b: Cluster
let tasks: RbdTasks
let endpoint: Awaited<ReturnType<typeof serveRbd>>

beforeAll(async () => {
  const common = { pools: ['vms', 'images'], paxosProposeIntervalMs: 0, cloneFormat: 1 } as const
  a = openCluster({ ...common, dataDir: join(home, 'a'), fsid: 'aaaa' })
  b = openCluster({ ...common, dataDir: join(home, 'b'), fsid: 'bbbb' })
  tasks = openRbdTasks(a, home)
  endpoint = await serveRbd({ clusters: { [conf]: a, [otherConf]: b }, tasks, port: 0, faults: faultList() })
  writeFileSync(conf, `[global]\nfsid = aaaa\nmon_host = 127.0.0.1:${endpoint.port}\n`)
  writeFileSync(otherConf, `[global]\nfsid = bbbb\nmon host = 127.0.0.1:${endpoint.port}\n`)
  a.create('vms', 'disk', 64 * mib)
  for (const at of [0, 9 * mib + 5, 63 * mib]) a.write('vms', 'disk', at, Buffer.from(`bytes at ${at}`))
  b.create('vms', 'elsewhere', mib)
})
afterAll(async () => {
  await endpoint.close()
  tasks.close()
  a.close()
  b.close()
  rmSync(home, { recursive: true })
})

interface Ended {
  code: number
  out: Buffer
  err: string
}

function rbd(...words: string[]): Promise<Ended> {
  const args = [program, '--conf', conf, '--id', 'nova', ...words]
  return new Promise((resolve) => {
    execFile(process.execPath, args, { encoding: 'buffer', maxBuffer: 256 * mib }, (error, out, err) => {
      resolve({ code: error ? Number(error.code) : 0, out, err: err.toString() })
    })
  })
}

async function json(...words: string[]): Promise<unknown> {
  return JSON.parse((await rbd(...words, '--format', 'json')).out.toString())
}

describe('rbd', () => {
  it('goes through a whole snapshot: create, protect, clone, flatten, unprotect, remove', async () => {
    const before = a.fingerprint('vms', 'disk', null)
    expect(await rbd('snap', 'create', '--no-progress', 'vms/disk@s')).toMatchObject({ code: 0, err: '' })
    expect((await rbd('snap', 'protect', 'vms/disk@s')).code).toBe(0)
    expect((await rbd('clone', 'vms/disk@s', 'images/c')).code).toBe(0)
    expect(await json('children', 'vms/disk@s')).toEqual([{ pool: 'images', pool_namespace: '', image: 'c' }])
    const every = [{ pool: 'images', pool_namespace: '', image: 'c', id: expect.any(String) as string, trash: false }]
    expect(await json('children', '--all', 'vms/disk@s')).toMatchObject(every)
    expect(await json('info', 'images/c')).toMatchObject({
      name: 'c',
      size: 64 * mib,
      objects: 16,
      features: ['layering', 'exclusive-lock', 'object-map', 'fast-diff', 'deep-flatten'],
      parent: { pool: 'vms', pool_namespace: '', image: 'disk', snapshot: 's', trash: false, overlap: 64 * mib },
    })
    expect(await json('snap', 'ls', 'vms/disk')).toMatchObject([{ name: 's', size: 64 * mib, protected: 'true' }])
    expect(await rbd('snap', 'unprotect', 'vms/disk@s')).toMatchObject({
      code: 16,
      err: 'rbd: unprotecting snap failed: (16) Device or resource busy\n',
    })
    expect((await rbd('flatten', 'images/c')).err).toContain('Image flatten: 100% complete...done.')
    expect((await rbd('snap', 'unprotect', 'vms/disk@s')).code).toBe(0)
    expect((await rbd('snap', 'rm', '--no-progress', 'vms/disk@s')).code).toBe(0)
    expect(a.fingerprint('images', 'c', null)).toBe(before)
    expect((await rbd('mv', 'images/c', 'images/d')).code).toBe(0)
    expect((await rbd('cp', 'images/d', 'images/e', '--no-progress')).code).toBe(0)
    expect(a.fingerprint('images', 'e', null)).toBe(before)
    expect((await rbd('rm', 'images/d', '--no-progress')).code).toBe(0)
    expect(a.images('images')).toEqual(['e'])
  })

  it('exports every byte, holes as zeros, also to a reader that is slow', async () => {
    await a.snapCreate('vms', 'disk', 'exported')
    const whole = Buffer.from(a.read('vms', 'disk', 'exported', 0, 64 * mib))
    a.write('vms', 'disk', 0, Buffer.from('later'))
    const child = spawn(process.execPath, [
      program,
      '--conf',
      conf,
      'export',
      'vms/disk@exported',
      '-',
      '--no-progress',
    ])
    await sleep(300)
    const hash = createHash('sha256')
    for await (const chunk of child.stdout) hash.update(chunk as Buffer)
    expect(hash.digest('hex')).toBe(createHash('sha256').update(whole).digest('hex'))
  })

  it('the conf decides the cluster', async () => {
    expect((await rbd('--conf', otherConf, 'info', 'vms/elsewhere')).code).toBe(0)
    expect((await rbd('info', 'vms/elsewhere')).code).toBe(2)
  })

  it.each([
    [2, ['info', 'vms/nope'], 'rbd: error opening image nope: (2) No such file or directory'],
    [2, ['info', 'nopool/x'], "rbd: error opening pool 'nopool': (2) No such file or directory"],
    [2, ['info', 'vms/disk@nope'], 'error setting snapshot context: (2) No such file or directory'],
    [2, ['snap', 'protect', 'vms/disk@nope'], 'rbd: protecting snap failed: (2) No such file or directory'],
    [22, ['flatten', 'vms/disk', '--no-progress'], 'rbd: flatten error: (22) Invalid argument'],
    [22, ['snap', 'create', 'vms/disk'], 'rbd: snapshot name was not specified'],
    [22, ['flatten', 'vms/disk@x'], "rbd: snapshot name specified for a command that doesn't use it"],
    [17, ['mv', 'vms/disk', 'vms/disk'], 'rbd: rename error: (17) File exists'],
    [2, ['rm', 'vms/nope', '--no-progress'], 'rbd: delete error: (2) No such file or directory'],
    [2, ['export', 'vms/nope', '-'], 'rbd: error opening image nope: (2) No such file or directory'],
  ])('exits with %i: %j', async (code, words, err) => {
    expect(await rbd(...words)).toMatchObject({ code, err: `${err}\n` })
  })

  it('a snapshot that exists, is protected, or holds a clone is refused in words', async () => {
    a.create('vms', 'held', mib)
    await a.snapCreate('vms', 'held', 's')
    expect(await rbd('snap', 'create', 'vms/held@s', '--no-progress')).toMatchObject({
      code: 17,
      err: 'rbd: failed to create snapshot: (17) File exists\n',
    })
    expect(await rbd('clone', 'vms/held@s', 'images/x')).toMatchObject({
      code: 22,
      err: 'rbd: clone error: (22) Invalid argument\n',
    })
    expect((await rbd('rm', 'vms/held', '--no-progress')).err).toContain("'rbd snap purge'")
    await rbd('snap', 'protect', 'vms/held@s')
    expect((await rbd('snap', 'protect', 'vms/held@s')).code).toBe(16)
    expect((await rbd('snap', 'rm', 'vms/held@s', '--no-progress')).err).toBe(
      "rbd: snapshot 's' is protected from removal.\n",
    )
  })

  it('a flatten shows how far it is, and ends where it is when its command is killed', async () => {
    await a.snapCreate('vms', 'disk', 'flat')
    a.snapProtect('vms', 'disk', 'flat')
    a.clone({ pool: 'vms', image: 'disk', snap: 'flat' }, { pool: 'images', image: 'slow' }, [
      'layering',
      'exclusive-lock',
    ])
    endpoint.slow('flatten', 400)
    const child = spawn(process.execPath, [program, '--conf', conf, 'flatten', 'images/slow'])
    let err = ''
    child.stderr.on('data', (chunk: Buffer) => (err += chunk.toString()))
    while (!err.includes('complete')) await sleep(10)
    expect(err).toMatch(/^\rImage flatten: (33|66)% complete\.\.\.$/)
    child.kill('SIGKILL')
    await sleep(1300)
    endpoint.slow('flatten', 0)
    expect(a.info('images', 'slow')).toMatchObject({ parent: { snap: 'flat' }, watchers: 0 })
    expect((await rbd('flatten', 'images/slow', '--no-progress')).code).toBe(0)
    expect(a.fingerprint('images', 'slow', null)).toBe(a.fingerprint('vms', 'disk', 'flat'))
  })
})
