/**
 * RBD in one Ceph cluster.
 *
 * Every method may be called twice, or after a call whose answer was lost: twice = once. The same name with other content
 * is NAME_TAKEN, never success. Absent is fine for every `...Absent`. Failures are `Failure`s; `signal` ends the wait.
 */
export interface RbdImage {
  pool: string
  image: string
}
export interface RbdSnap extends RbdImage {
  snap: string
}

export interface RbdState {
  sizeBytes: number
  /** null: the image stands alone, flattened or never a clone */
  parent: RbdSnap | null
  snaps: RbdSnapState[]
  /** a group's, or removed while clones hang on them (clone format 2); null where the gateway does not say */
  hasUnlistedSnaps: boolean | null
}
interface RbdSnapState {
  name: string
  isProtected: boolean
  /** clones of it that are not in the trash */
  children: RbdImage[]
  /** whether anything was cloned from it, in the trash too where the gateway can see that; null where it does not say */
  isUsed: boolean | null
}

/** Work that Ceph goes on with after it answered. `fraction` is null when the gateway does not say. */
export type Progress = { is: 'done' } | { is: 'running'; fraction: number | null }

export interface Volumes {
  /** The cluster's id, as in Glance's rbd://FSID/... */
  fsid(signal: AbortSignal): Promise<string>

  find(image: RbdImage, signal: AbortSignal): Promise<RbdState | null>

  /** A missing image is INSTANCE_GONE. Waits for a round of Ceph's monitors (0.05-1 s, by `paxos_propose_interval`). */
  ensureSnapshot(snap: RbdSnap, signal: AbortSignal): Promise<void>

  /** Clone format 1 needs it, format 2 does not mind. */
  ensureProtected(snap: RbdSnap, signal: AbortSignal): Promise<void>

  /** Unprotects and removes. A snapshot with a linked clone is CEPH_BUSY and stays as it was. */
  ensureSnapshotAbsent(snap: RbdSnap, signal: AbortSignal): Promise<void>

  /**
   * A clone of `source`, verified before it is believed: parent, size and the source's list of children agree
   * (seen on Ceph 16.2 when a manager dies: a clone that "exists" may be half made and read as zeros).
   * - `half-made`: something of that name exists that fails the check and has no parent, or does not open
   * - `foreign`: something of that name exists with another parent
   * Refused for good is CLONE_REFUSED.
   */
  ensureClone(
    source: RbdSnap,
    child: RbdImage,
    signal: AbortSignal,
  ): Promise<'verified' | 'half-made' | 'foreign' | 'running'>

  /** Only for a child that `ensureClone` verified: a half-made one has no parent either. */
  flatten(child: RbdImage, signal: AbortSignal): Promise<Progress>

  /** A full copy of `source` under `target`, whole or not there: made under `temporary` and renamed. */
  ensureCopy(source: RbdSnap, temporary: RbdImage, target: RbdImage, signal: AbortSignal): Promise<Progress>

  /**
   * Removes an image and the snapshots named; another snapshot on it, a child or a user of it is CEPH_BUSY and nothing is removed.
   * Also clears a clone that does not open (404 on read, 17 on create).
   */
  ensureAbsent(image: RbdImage, ownSnaps: string[], signal: AbortSignal): Promise<void>
}

/** Reads a disk's bytes without a local file: `rbd export`. */
export interface DiskReader {
  /** The bytes of `pool/image@snap`, holes as zeros, exactly `sizeBytes` of them; ends with an error when cut short. */
  read(cluster: string, snap: RbdSnap, signal: AbortSignal): ReadableStream<Uint8Array>
}
