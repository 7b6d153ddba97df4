import { randomUUID } from 'node:crypto'
import type { Token } from './keystone-tokens.ts'
import type { Records, Table } from './records.ts'

export interface Disk {
  cluster: 'a' | 'b'
  pool: string
  image: string
}

export interface Instance {
  id: string
  numericId: number
  name: string
  hostname: string
  project: string
  user: string
  reservation: string
  flavor: { name: string; rootGib: number }
  /** the image that it was booted from */
  imageId: string | null
  /** what Nova remembered of that image at the boot (system_metadata `image_*`) */
  imageProps: Record<string, string>
  metadata: Record<string, string>
  tags: string[]
  host: string | null
  vmState: string
  taskState: string | null
  powerState: 0 | 1 | 3 | 4
  isLocked: boolean
  disk: Disk
  createdAtMs: number
  launchedAtMs: number
  updatedAtMs: number
  deletedAtMs: number | null
}

/** One API request: who asked, and the id that every later event of it bears. */
export interface RequestContext {
  requestId: string
  user: string
  userName: string
  project: string
  projectName: string
  roles: string[]
}

export interface InstanceAction {
  requestId: string
  instance: string
  action: string
  user: string
  project: string
  startedAtMs: number
  finishedAtMs: number | null
  event: string | null
  result: 'Success' | 'Error' | null
  details: string | null
}

export const contextOf = (who: Token): RequestContext => ({
  requestId: `req-${randomUUID()}`,
  user: who.userId,
  userName: who.userName,
  project: who.projectId,
  projectName: who.projectName,
  roles: who.roles,
})

/** An answer that is not the wish, as Nova words it. */
export class NovaRefusal extends Error {
  readonly status: number

  constructor(status: number, message: string) {
    super(message)
    this.status = status
  }
}

export const notFound = (id: string) => new NovaRefusal(404, `Instance ${id} could not be found.`)

/** nova.exception, by class name: what the snapshot job does next depends on it. */
export class NovaException extends Error {
  readonly is: string

  constructor(is: string, message: string) {
    super(message)
    this.is = is
  }
}

export const instanceTable = (records: Records): Table<Instance> => records.table<Instance>('instance')
export const diskOf = (id: string) => `${id}_disk`
