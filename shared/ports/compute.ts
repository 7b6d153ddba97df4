/** Nova, as its administrator's API shows it. */
export interface Server {
  id: string
  name: string
  project: string
  user: string
  /** Nova's vm_state: active, stopped, paused, suspended, shelved_offloaded, deleted, ... */
  vmState: string
  /** image_snapshot, image_uploading, deleting, ...; null when Nova is not working on it */
  taskState: string | null
  host: string | null
  rootGib: number
  /** the image that it was booted from; null for a volume-backed server */
  baseImage: string | null
  tags: string[]
}

export interface Compute {
  find(instance: string, signal: AbortSignal): Promise<Server | null>
  /** Is exactly this tag on the server? The smallest question that Nova has; false also of a server that is gone. */
  bears(instance: string, tag: string, signal: AbortSignal): Promise<boolean>
  /** Is there a server, of any project and also in the bin, that was made from this image, wherever its disk is? */
  usesImage(image: string, signal: AbortSignal): Promise<boolean>
  /** Servers of every project that bear exactly this tag (`tags-any`); for requests whose notification was lost. */
  tagged(tag: string, signal: AbortSignal): Promise<Server[]>
  ensureTagAbsent(instance: string, tag: string, signal: AbortSignal): Promise<void>
}
