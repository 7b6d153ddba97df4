import { unwind } from '../../functions/unwind.ts'
import { locationUrl, show } from '../../shared/names.ts'
import type { Server } from '../../shared/ports/compute.ts'
import type { Image } from '../../shared/ports/images.ts'
import type { Lease } from '../../shared/ports/journal.ts'
import type { RbdState } from '../../shared/ports/volumes.ts'
import type { UndoName } from '../../shared/pipeline.ts'
import type { Because, Disk } from '../../shared/run.ts'
import {
  consistency,
  context,
  disk,
  due,
  instance,
  leasesOf,
  nowMs,
  portsOf,
  server,
  source,
  tagWish,
  volume,
  yes,
} from './given.ts'

export interface Situation {
  undos?: UndoName[]
  wish?: typeof tagWish
  disk?: Disk | null
  server?: Server | null
  image?: Image | null
  volume?: RbdState | null
  /** the instance's own disk; not there when it is left out */
  sourceVolume?: RbdState
  lease?: Lease
  /** nobody hears the thaw */
  isUnheard?: boolean
  /** Glance does not delete the image */
  isRefused?: boolean
  /** how long Nova takes to answer */
  novaMs?: number
  because?: Because
  sinceMs?: number
}
export const quota: Because = { code: 'QUOTA', words: 'no space', at: 'register' }
const fsid = 'c1aefb3a-6f4b-4bb3-9f1a-5e6f7a8b9c0d'
export const ours = locationUrl(fsid, volume)
export const busy = server({ taskState: 'image_uploading' })
export const frozen: Lease = {
  key: `instance/${instance}`,
  version: 1,
  holder: tagWish.run,
  epoch: 1,
  untilMs: nowMs,
  freeze: { askedAtMs: nowMs, isConfirmed: true, host: 'one' },
  thawed: null,
}

export function inSituation(given: Situation) {
  const leases = leasesOf(...(given.lease ? [given.lease] : []))
  const clock = { ms: nowMs, nowMs: () => clock.ms }
  const { ports, calls } = portsOf({
    compute: {
      async find() {
        clock.ms += given.novaMs ?? 0
        return given.server === undefined ? server() : given.server
      },
      ensureTagAbsent: yes,
    },
    images: {
      find: async () => given.image ?? null,
      setProtected: yes,
      removeProperties: yes,
      async remove(_id, mustBeSoon) {
        mustBeSoon()
        return given.isRefused ? { is: 'refused', why: 'it is protected' } : { is: 'removed' }
      },
      ensureQueuedAbsent: async () => 'absent',
    },
    home: {
      fsid: async () => fsid,
      find: async ({ pool }) => (pool === disk.pool ? given.sourceVolume : given.volume) ?? null,
      ensureAbsent: yes,
      ensureSnapshotAbsent: yes,
    },
    guest: { thaw: async () => (given.isUnheard ? 'unheard' : 'thawed') },
    leases,
  })
  const { wish = tagWish, undos = [], because = quota } = given
  const run = due<'unwind'>(
    {
      step: 'unwind',
      wish,
      disk: given.disk === undefined ? disk : given.disk,
      consistency,
      why: [],
      undos,
      because,
    },
    given.sinceMs,
  )
  const changes = () => calls.filter((call) => !/\.(find|fsid|state)\b/.test(call))
  return { act: () => unwind(run, ports, context({}, clock)), calls, changes, leases }
}
export const dropSource = `ceph.ensureSnapshotAbsent ${show(source)}`
export const dropVolume = `ceph.ensureAbsent ${show(volume)} snap`
export const dropCopy = `ceph.ensureAbsent images/rbdsnap-${tagWish.run}-copy none`
export const dropRecord = `glance.ensureQueuedAbsent ${tagWish.image}`
export const takeTagOff = `nova.ensureTagAbsent ${instance} snapshot:before-upgrade`
export const lift = `glance.setProtected ${tagWish.image} false`
export const rejected = { is: 'ended', outcome: 'rejected', failure: quota, reason: null }
