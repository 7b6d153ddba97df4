import type { MessageOf, RunMessage, Wish } from '../run.ts'
import type { FailureCode } from '../failures.ts'
import type { UndoName } from '../pipeline.ts'

/**
 * What we know of every run and who may work on it. Kept per instance: an item is found by (instance, run), so that a
 * DynamoDB table, SQLite and an SQL server can each hold it; every write is one conditional put of one item.
 * A record's absence is never a permission to delete anything.
 */
export type RunOutcome = 'active' | 'fallback' | 'nova-did-it' | 'rejected' | 'parked'

export interface StepRecord {
  step: RunMessage['step'] | 'ingest'
  startedAtMs: number
  endedAtMs: number | null
  /** deliveries of this step that acted, waits not counted */
  tries: number
  outcome: 'running' | 'done' | 'waiting' | 'retry' | 'diverted' | 'failed'
  code: FailureCode | null
  words: string | null
}

export interface RunRecord {
  wish: Wish
  version: number
  createdAtMs: number
  updatedAtMs: number
  /** counts the messages of the run; the message that carries it is the one that is due, all others are stale */
  hop: number
  /** the message that is due: what the sweep sends again when the queue lost it; at hop 0 the one that reserved the run */
  message: RunMessage | MessageOf<'ingest'>
  /** when the message that is due may be worked on; later while a step waits */
  dueAtMs: number
  /** who works on it now: a fencing token. A write under another token's version is refused. */
  claim: { token: string; hop: number; untilMs: number } | null
  /** deliveries of the present hop whose function died */
  lost: number
  /** noted before the act that they undo, in order; empty once the run has ended and was looked at for the last time */
  undos: UndoName[]
  timeline: StepRecord[]
  progress: number | null
  /** null while the run goes on */
  outcome: RunOutcome | null
  code: FailureCode | null
  reason: string | null
  endedAtMs: number | null
}

/** Who may freeze an instance, or fill a place in a budget. The epoch grows with every taker and never goes back. */
export interface Lease {
  key: string
  version: number
  holder: string | null
  epoch: number
  untilMs: number
  /**
   * `askedAtMs` is noted before the freeze is sent, `isConfirmed` after its answer; `host` is where the guest was then
   * (shared/ports/guest.ts). Null: nothing frozen by us.
   */
  freeze: { askedAtMs: number; isConfirmed: boolean; host: string | null } | null
  /** when the last freeze was over, and which: how long a guest stood still is told from this, also when the dead man thawed it */
  thawed: { epoch: number; atMs: number } | null
}

export interface Parked {
  id: string
  atMs: number
  code: FailureCode
  words: string
  /** what is kept of the body, secrets removed, at most 64 KiB */
  body: string
}

export interface Journal {
  /** Inserts, or gives back the record that stands there. */
  reserve(record: RunRecord): Promise<{ record: RunRecord; isNew: boolean }>
  find(instance: string, run: string): Promise<RunRecord | null>
  /** Writes if the stored version is still `record.version`; the record with its new version, or null when somebody else wrote. */
  save(record: RunRecord): Promise<RunRecord | null>

  openOf(instance: string): Promise<RunRecord[]>
  /** The newest run of an instance, whatever became of it. */
  latestOf(instance: string): Promise<RunRecord | null>
  /** Open runs whose message was due before `dueBeforeMs`, oldest first. */
  overdue(dueBeforeMs: number, limit: number): Promise<RunRecord[]>
  /** Runs that ended before `endedBeforeMs`, and were not parked, with undos noted still, oldest first. */
  unsettled(endedBeforeMs: number, limit: number): Promise<RunRecord[]>
  /** Newest first. */
  list(limit: number): Promise<RunRecord[]>
  byRunOrImage(id: string): Promise<RunRecord | null>
  /** Runs that were not turned away, since `sinceMs`, and how many of all of them are open. */
  countOf(by: { instance: string } | { project: string }, sinceMs: number): Promise<{ open: number; since: number }>
  counts(): Promise<{ step: string | null; outcome: RunOutcome | null; runs: number; oldestMs: number }[]>

  /**
   * One more than the runs of this tag that have ended: the epoch in the run's id (shared/names.ts). A parked run keeps its tag and
   * its epoch, or each look at the tag would begin another run to be parked.
   */
  tagEpoch(instance: string, tag: string): Promise<number>

  park(parked: Parked): Promise<void>
  /** Newest first. */
  listParked(limit: number): Promise<Parked[]>
  findParked(id: string): Promise<Parked | null>
  /** False when nothing is parked under this id. */
  unpark(id: string): Promise<boolean>
}

export interface Leases {
  find(key: string): Promise<Lease | null>
  /** The lease when it was free, expired or the holder's own already; null while it is somebody else's. */
  take(key: string, holder: string, nowMs: number, untilMs: number): Promise<Lease | null>
  /** Writes if the stored version is still `lease.version`; null when somebody else wrote. */
  save(lease: Lease): Promise<Lease | null>
  /** Every lease with a freeze on it. */
  frozen(): Promise<Lease[]>
}
