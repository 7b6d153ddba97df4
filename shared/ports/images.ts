/** Glance. Twice = once; another owner's image of the same id is NAME_TAKEN; failures are `Failure`s. */
export interface Image {
  id: string
  name: string | null
  status:
    'queued' | 'saving' | 'importing' | 'active' | 'deactivated' | 'killed' | 'deleted' | 'pending_delete' | 'uploading'
  owner: string
  isProtected: boolean
  /** seen by its project alone; false also when Glance does not say */
  isPrivate: boolean
  sizeBytes: number | null
  /** of the disk in the image, where Glance has read it: an upload's */
  virtualSizeBytes: number | null
  checksum: string | null
  createdAtMs: number
  /** when its record was changed last: of one that is `saving`, when its upload began */
  updatedAtMs: number
  /** URLs as Glance shows them; empty also when it hides them */
  locations: string[]
  /** the stores that hold its data; empty also when Glance does not say */
  stores: string[]
  /** every property that is not one of Glance's own fields, as text */
  properties: Record<string, string>
}

/** What a snapshot's record says of itself (Nova's own properties and ours); values are text. */
export interface ImageRecord {
  id: string
  name: string
  owner: string
  minDiskGib: number
  properties: Record<string, string>
}

/** `busy`: something uses it, or it is being deleted already; `refused`: it is protected, or the site does not allow it. */
export type Removal = { is: 'removed' } | { is: 'gone' } | { is: 'busy'; why: string } | { is: 'refused'; why: string }

export interface Images {
  find(id: string, signal: AbortSignal): Promise<Image | null>

  /** The images of this project whose `instance_uuid` is this instance, in any state, newest first. */
  ofInstance(instance: string, owner: string, signal: AbortSignal): Promise<Image[]>

  /** A queued, private, raw record with this id and owner. An id that was ever deleted cannot be used again: IMAGE_GONE. */
  ensureQueued(record: ImageRecord, signal: AbortSignal): Promise<void>

  /**
   * Take-over: disk_format, container_format, min_disk, our properties and `protected` in one PATCH, before anything else: Glance
   * refuses a PATCH as a whole, and disk_format once the image is not queued. The same PATCH takes off whatever else of ours is on
   * it, left by the image that the server was booted from; not what an earlier claim of this run has put there. IMAGE_GONE when it
   * is no longer there, NOVA_DID_IT when it is no longer queued.
   */
  claim(id: string, record: Omit<ImageRecord, 'id' | 'name' | 'owner'>, signal: AbortSignal): Promise<void>

  /** Adds the location and reads it back: active, one location, ours, the size given. LOCATION_REFUSED when Glance will not. */
  ensureLocation(id: string, url: string, sizeBytes: number, signal: AbortSignal): Promise<void>

  /** Uploads `bytes` to a queued image: what was sent, once Glance shows it active with that size and MD5. */
  upload(
    id: string,
    bytes: ReadableStream<Uint8Array>,
    signal: AbortSignal,
  ): Promise<{ sizeBytes: number; md5: string }>

  /** Of a queued image, before its upload. */
  setDiskFormat(id: string, format: 'raw' | 'qcow2', signal: AbortSignal): Promise<void>
  setProtected(id: string, isProtected: boolean, signal: AbortSignal): Promise<void>
  setProperties(id: string, properties: Record<string, string>, signal: AbortSignal): Promise<void>
  removeProperties(id: string, names: string[], signal: AbortSignal): Promise<void>

  /**
   * Deletes an image with its data, whatever it is: whether it may go is asked before (shared/retention.ts). One request and no look
   * of its own, so that a caller whose claim is over cannot have looked and ask all the same. Glance deletes the data within the
   * request: when the caller's time is over it goes on, and the image shows what is left.
   *
   * @param mustBeSoon asked directly before the request; throws when what was seen is too long ago
   */
  remove(id: string, mustBeSoon: () => void, signal: AbortSignal): Promise<Removal>

  /** Deletes a record while it is still queued. An active one stays: CEPH_BUSY is not ours to answer, it is kept and said. */
  ensureQueuedAbsent(id: string, signal: AbortSignal): Promise<'absent' | 'kept'>
}
