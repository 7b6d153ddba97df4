import { execFileSync } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { readLab } from '../../infra/lab/lab.ts'
import { glance } from '../../shared/adapters/glance.ts'
import { keystone } from '../../shared/adapters/keystone.ts'
import { qcow2Reader } from '../../shared/adapters/qcow2-reader.ts'
import { rbdReader } from '../../shared/adapters/rbd-reader.ts'
import type { DiskReader } from '../../shared/ports/volumes.ts'
import { clock } from '../contract/embedded-cloud.ts'
import { expectFailure } from '../contract/outcome.ts'
import { rbd } from './hands.ts'
import { credentialsOf, md5Of, ownProject } from './lab-openstack.ts'

/** The last rung of the fallback, on a disk of 1 GiB: from a snapshot in Ceph to the real Glance. */
const lab = readLab()
const gib = 1024 ** 3
const mebibyte = 1024 ** 2
const snap = { pool: lab.ceph.pools.disks, image: `rbdsnap-test-${randomUUID().slice(0, 8)}`, snap: 'rbdsnap-test' }
const spec = `${snap.pool}/${snap.image}`
const images = glance(keystone(credentialsOf(lab), clock), { endpoint: lab.glance.internal })
const clusters = { user: lab.env['RBDSNAP_RBD_USER'] ?? null, confs: { home: lab.ceph.conf } }
let project: Awaited<ReturnType<typeof ownProject>>
let directory: string

beforeAll(async () => {
  project = await ownProject(lab)
  directory = mkdtempSync(join(tmpdir(), 'rbdsnap-upload-'))
  await rbd(lab, 'create', '--size', '1G', spec)
  await rbd(lab, 'bench', '--io-type', 'write', '--io-total', '256M', '--io-size', '1M', spec)
  await rbd(lab, 'snap', 'create', '--no-progress', `${spec}@${snap.snap}`)
})
afterAll(async () => {
  await project.close()
  await rbd(lab, 'snap', 'purge', '--no-progress', spec)
  await rbd(lab, 'rm', '--no-progress', spec)
  rmSync(directory, { recursive: true })
})

const patient = () => AbortSignal.timeout(170_000)
async function queued(): Promise<string> {
  const id = randomUUID()
  const properties = { rbdsnap_run: randomUUID() }
  await images.ensureQueued({ id, name: 'an upload', owner: project.id, minDiskGib: 1, properties }, patient())
  return id
}
const read = (reader: DiskReader) => reader.read('home', snap, patient())

it('raw: every byte arrives, and no more than a few pieces of it are in memory at once', async () => {
  const id = await queued()
  const beforeBytes = process.memoryUsage().rss
  let mostBytes = 0
  const watch = setInterval(() => (mostBytes = Math.max(mostBytes, process.memoryUsage().rss)), 100)
  const beganMs = Date.now()
  const sent = await images.upload(id, read(rbdReader({ ...clusters, command: ['rbd'] })), patient())
  clearInterval(watch)
  const grownMib = Math.round((mostBytes - beforeBytes) / mebibyte)
  process.stdout.write(
    `raw: 1 GiB in ${String((Date.now() - beganMs) / 1000)} s, memory grew by ${String(grownMib)} MiB\n`,
  )
  expect(sent).toEqual({ sizeBytes: gib, md5: await md5Of(lab, `${spec}@${snap.snap}`) })
  expect(await images.find(id, patient())).toMatchObject({ status: 'active', sizeBytes: gib, virtualSizeBytes: gib })
  expect(await md5Of(lab, `${lab.ceph.pools.images}/${id}@snap`)).toBe(sent.md5)
  expect(grownMib).toBeLessThan(160)
})

it('qcow2: Glance reads the size of the disk from it, holes are left out, and no file stays', async () => {
  const id = await queued()
  await images.setDiskFormat(id, 'qcow2', patient())
  const sent = await images.upload(id, read(qcow2Reader({ ...clusters, command: ['qemu-img'], directory })), patient())
  const image = await images.find(id, patient())
  expect(image).toMatchObject({ status: 'active', sizeBytes: sent.sizeBytes, virtualSizeBytes: gib })
  expect(sent.sizeBytes).toBeLessThan(300 * mebibyte)
  expect(readdirSync(directory)).toEqual([])
  const file = join(directory, 'as-it-is.qcow2')
  await rbd(lab, 'export', '--no-progress', `${lab.ceph.pools.images}/${id}@snap`, file)
  const inside = execFileSync('qemu-img', ['dd', '-f', 'qcow2', '-O', 'raw', 'bs=4M', `if=${file}`, `of=${file}.raw`])
  expect(inside.toString()).toBe('')
  expect(md5OfFile(`${file}.raw`)).toBe(await md5Of(lab, `${spec}@${snap.snap}`))
  rmSync(file)
  rmSync(`${file}.raw`)
})

it('qcow2 without room for it is NO_SPACE, before anything is written', async () => {
  const small = join(directory, 'small')
  execFileSync('mkdir', [small])
  execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=8m', 'tmpfs', small])
  try {
    const id = await queued()
    const bytes = read(qcow2Reader({ ...clusters, command: ['qemu-img'], directory: small }))
    await expectFailure(images.upload(id, bytes, patient()), 'NO_SPACE', /8388608 left/)
    expect(readdirSync(small)).toEqual([])
  } finally {
    execFileSync('umount', [small])
    rmSync(small, { recursive: true })
  }
})

function md5OfFile(path: string): string {
  return execFileSync('md5sum', [path]).toString().split(' ')[0] ?? ''
}
