import { cephDashboard } from '../../shared/adapters/ceph-dashboard.ts'
import { dashboardFacts } from '../../shared/adapters/ceph-facts.ts'
import { glance } from '../../shared/adapters/glance.ts'
import { guestNovaPause } from '../../shared/adapters/guest-nova-pause.ts'
import { keystone, type Identity } from '../../shared/adapters/keystone.ts'
import { nova } from '../../shared/adapters/nova.ts'
import type { Clock } from '../../shared/ports/clock.ts'

/** The calls of each service's adapter on objects that have always the same names, for the fuzzer and for capturing the answers that it begins with. */
export const ids = {
  instance: '2ea85081-e9bb-4d02-8bc0-a7302c847e8c',
  image: '56813989-0617-48bf-bca3-9bbe9caca90f',
  project: '13fcaa0fddb64917b16214698f0e086f',
  fsid: '3f0d1c6e-5a7b-4c2d-9e8f-0a1b2c3d4e5f',
}
const clock: Clock = { nowMs: () => 1_795_000_000_000 }
const disk = { pool: 'vms', image: `${ids.instance}_disk` }
const source = { ...disk, snap: 'rbdsnap-source' }
const volume = { pool: 'images', image: ids.image }
const copy = { pool: 'images', image: 'rbdsnap-x-copy' }

export interface Where {
  keystone: string
  nova: string
  glance: string
  ceph: string[]
  user: string
  password: string
  cephUser: string
  cephPassword: string
}
type Call = (signal: AbortSignal) => Promise<unknown>
type Calls = Record<string, Call>

export function keystoneCalls(where: Where): Calls {
  const own = () =>
    keystone({ authUrl: where.keystone, username: where.user, password: where.password, projectName: 'service' }, clock)
  return {
    token: (signal) => own().token(signal),
    endpoint: (signal) => own().endpoint('image', signal),
  }
}

export function novaCalls(where: Where, identity: Identity): Calls {
  const own = nova(identity, { endpoint: where.nova })
  const pause = guestNovaPause(identity, own, { timeoutMs: 50 })
  const at = { instance: ids.instance, host: null }
  return {
    find: (signal) => own.find(ids.instance, signal),
    usesImage: (signal) => own.usesImage(ids.image, signal),
    bears: (signal) => own.bears(ids.instance, 'snapshot-on:exists', signal),
    tagged: (signal) => own.tagged('snapshot', signal),
    ensureTagAbsent: (signal) => own.ensureTagAbsent(ids.instance, 'snapshot', signal),
    hasHeld: (signal) => pause.hasHeld(at, Date.now() + 10_000, signal),
    thaw: (signal) => pause.thaw(at, signal),
  }
}

export function glanceCalls(where: Where, identity: Identity): Calls {
  const own = () => glance(identity, { endpoint: where.glance })
  const record = { id: ids.image, name: 'n', owner: ids.project, minDiskGib: 1, properties: { rbdsnap_run: 'r' } }
  const url = `rbd://${ids.fsid}/images/${ids.image}/snap`
  return {
    find: (signal) => own().find(ids.image, signal),
    ofInstance: (signal) => own().ofInstance(ids.instance, ids.project, signal),
    ensureQueued: (signal) => own().ensureQueued(record, signal),
    claim: (signal) => own().claim(ids.image, { minDiskGib: 1, properties: { rbdsnap_run: 'r' } }, signal),
    ensureLocation: (signal) => own().ensureLocation(ids.image, url, 65_536, signal),
    upload: (signal) => own().upload(ids.image, new Blob(['a disk']).stream(), signal),
    setProperties: (signal) => own().setProperties(ids.image, { a: 'b' }, signal),
    removeProperties: (signal) => own().removeProperties(ids.image, ['a', 'instance_uuid'], signal),
    remove: (signal) => own().remove(ids.image, () => {}, signal),
    ensureQueuedAbsent: (signal) => own().ensureQueuedAbsent(ids.image, signal),
  }
}

export function cephCalls(where: Where): Calls {
  const options = { urls: where.ceph, user: where.cephUser, password: where.cephPassword, clock }
  const own = () => cephDashboard({ ...options, fsid: ids.fsid, patience: { everyMs: 1, settleMs: 5 } })
  const facts = () => dashboardFacts(options)
  return {
    find: (signal) => own().find(disk, signal),
    ensureSnapshot: (signal) => own().ensureSnapshot(source, signal),
    ensureProtected: (signal) => own().ensureProtected(source, signal),
    ensureClone: (signal) => own().ensureClone(source, volume, signal),
    flatten: (signal) => own().flatten(volume, signal),
    ensureCopy: (signal) => own().ensureCopy(source, copy, { pool: 'images', image: 'copied' }, signal),
    ensureAbsent: (signal) => own().ensureAbsent(volume, ['snap'], signal),
    ensureSnapshotAbsent: (signal) => own().ensureSnapshotAbsent(source, signal),
    version: (signal) => facts().version(signal),
    missingRights: (signal) => facts().missingRights(['vms'], signal),
    features: (signal) => facts().features(disk, signal),
  }
}
