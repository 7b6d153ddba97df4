import { execFile } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { promisify } from 'node:util'
import { cephDashboard } from '../../../shared/adapters/ceph-dashboard.ts'
import { Failure } from '../../../shared/failures.ts'
import type { Volumes } from '../../../shared/ports/volumes.ts'
import { systemClock } from '../../../shared/compose.ts'
import { signIn, type Rest } from '../../lab/support/rest.ts'
import type { Story } from '../../lab/support/story.ts'
import { waitFor } from '../../lab/support/wait.ts'

const run = promisify(execFile)
const clonesFeatures = ['layering', 'exclusive-lock', 'object-map', 'fast-diff', 'deep-flatten']

export interface ByHand {
  /** The calls that nobody can leave out, one after the other, in this one warm process: until the image is active. */
  usableMs(server: string): Promise<number>
  /** freeze, snap create, thaw */
  frozenMs(server: string): Promise<number>
}

/** What somebody would type who does the same once, with nothing noted, nothing verified and nobody else in the way. */
export function byHand(story: Story): ByHand {
  const { lab, tenant } = story
  const { disks, images: imagePool } = lab.ceph.pools
  const rest = signIn(lab, lab.people.admin)
  const dashboard = dashboardOf(story)
  const volumes: Volumes = cephDashboard({
    urls: lab.ceph.dashboards,
    user: lab.ceph.administrator.user,
    password: lab.ceph.administrator.password,
    fsid: lab.ceph.fsid,
    clock: systemClock,
  })
  const patient = () => AbortSignal.timeout(60_000)

  async function frozen(server: string, snapshot: () => Promise<void>): Promise<void> {
    const agent = (execute: string) =>
      run('virsh', ['-c', lab.libvirt.uri, 'qemu-agent-command', server, JSON.stringify({ execute })])
    await agent('guest-fsfreeze-freeze')
    try {
      await snapshot()
    } finally {
      await agent('guest-fsfreeze-thaw')
    }
  }

  return {
    async usableMs(server) {
      const image = randomUUID()
      const disk = { pool: disks, image: `${server}_disk` }
      const source = { ...disk, snap: `by-hand-${image}` }
      const child = { pool: imagePool, image }
      const startedMs = performance.now()
      await frozen(server, () => dashboard('POST', `${pathOf(disk)}/snap`, snapNamed(source.snap)))
      const clone = { child_pool_name: imagePool, child_namespace: null, child_image_name: image }
      await dashboard('PUT', `${pathOf(disk)}/snap/${source.snap}`, { is_protected: true })
      await dashboard('POST', `${pathOf(disk)}/snap/${source.snap}/clone`, { ...clone, features: clonesFeatures })
      await dashboard('POST', `${pathOf(child)}/snap`, snapNamed('snap'))
      await dashboard('PUT', `${pathOf(child)}/snap/snap`, { is_protected: true })
      await register(rest, story, image, tenant.projectId)
      const tookMs = performance.now() - startedMs
      await waitFor(
        `${child.pool}/${child.image} is flat`,
        () => volumes.flatten(child, patient()).catch(busy),
        (progress) => progress?.is === 'done',
      )
      await volumes.ensureSnapshotAbsent(source, patient())
      await rest.must('DELETE', `${lab.glance.internal}/v2/images/${image}`)
      return tookMs
    },

    async frozenMs(server) {
      const snap = `by-hand-${randomUUID()}`
      const disk = { pool: disks, image: `${server}_disk` }
      const startedMs = performance.now()
      await frozen(server, () => dashboard('POST', `${pathOf(disk)}/snap`, snapNamed(snap)))
      const tookMs = performance.now() - startedMs
      await volumes.ensureSnapshotAbsent({ ...disk, snap }, patient())
      return tookMs
    },
  }
}

const snapNamed = (name: string) => ({ snapshot_name: name, mirrorImageSnapshot: false })

/** An image whose objects are being copied answers late at times; nobody measures that. */
function busy(error: unknown): null {
  if (error instanceof Failure && error.kind === 'retry') return null
  throw error
}

const pathOf = ({ pool, image }: { pool: string; image: string }) =>
  `/api/block/image/${encodeURIComponent(`${pool}/${image}`)}`

async function register(rest: Rest, { lab }: Story, image: string, owner: string): Promise<void> {
  const images = `${lab.glance.internal}/v2/images`
  const formats = { disk_format: 'raw', container_format: 'bare', visibility: 'private' }
  await rest.must('POST', images, { body: { id: image, name: 'by-hand', owner, min_disk: 1, ...formats } })
  const url = `rbd://${lab.ceph.fsid}/${lab.ceph.pools.images}/${image}/snap`
  await rest.must('PATCH', `${images}/${image}`, {
    body: [{ op: 'add', path: '/locations/-', value: { url, metadata: {} } }],
    headers: { 'content-type': 'application/openstack-images-v2.1-json-patch' },
  })
}

/** The dashboard's API with one login; a call that is held (202) is waited for by the next one's success. */
function dashboardOf({ lab }: Story) {
  const [base = ''] = lab.ceph.dashboards
  const accept = 'application/vnd.ceph.api.v1.0+json'
  let token: string | null = null
  async function send(method: string, path: string, body: unknown): Promise<Response> {
    return fetch(`${base}${path}`, {
      method,
      redirect: 'manual',
      headers: { accept, 'content-type': 'application/json', ...(token ? { authorization: `Bearer ${token}` } : {}) },
      body: JSON.stringify(body),
    })
  }
  return async (method: string, path: string, body: unknown): Promise<void> => {
    if (token === null) {
      const { user: username, password } = lab.ceph.administrator
      const login = await send('POST', '/api/auth', { username, password })
      token = ((await login.json()) as { token: string }).token
    }
    const answer = await send(method, path, body)
    if (!answer.ok) throw new Error(`${method} ${path}: ${answer.status} ${(await answer.text()).slice(0, 300)}`)
    await answer.body?.cancel()
  }
}
