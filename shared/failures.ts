import { blacken } from './blacken.ts'

/**
 * Everything that can go wrong, as one table. The code is the heading in docs/errors.md, the metric's label, the name in
 * `rbdsnap error CODE`; `test/agree` holds the table and the document together.
 *
 * `kind` is the whole contract with the driver (shared/drive.ts):
 * - retry   may pass by itself: again, later, bounded by tries and by age
 * - divert  right wish, wrong road: on to `fallback`
 * - reject  cannot be met: unwind, and say why
 * - park    a person must look: keep everything
 */
export type FailureKind = 'retry' | 'divert' | 'reject' | 'park'

interface FailureRow {
  kind: FailureKind
  says: string
  remedy: string
}

export const failures = {
  // -- may pass by itself
  CEPH_UNREACHABLE: {
    kind: 'retry',
    says: 'The Ceph gateway did not answer.',
    remedy: 'Check that the manager and its dashboard run: `ceph mgr services`.',
  },
  CEPH_BUSY: {
    kind: 'retry',
    says: 'Ceph is busy with this object.',
    remedy: 'Nothing, unless it lasts: `rbd status POOL/IMAGE` shows who holds it.',
  },
  GLANCE_UNREACHABLE: { kind: 'retry', says: 'Glance did not answer.', remedy: 'Check glance-api.' },
  NOVA_UNREACHABLE: { kind: 'retry', says: 'Nova did not answer.', remedy: 'Check nova-api.' },
  KEYSTONE_UNREACHABLE: { kind: 'retry', says: 'Keystone did not answer.', remedy: 'Check keystone.' },
  GUEST_UNREACHABLE: {
    kind: 'retry',
    says: 'The guest agent did not answer.',
    remedy: 'Check qemu-guest-agent in the guest and the path to its hypervisor.',
  },
  TOKEN_REFUSED: {
    kind: 'retry',
    says: 'A service refused a token that Keystone had just issued.',
    remedy: "Check the clocks and the service user's project and roles.",
  },
  QUEUE_UNREACHABLE: {
    kind: 'retry',
    says: 'The queue did not answer.',
    remedy: 'Check the queue service and its credentials.',
  },
  JOURNAL_UNREACHABLE: {
    kind: 'retry',
    says: 'The journal did not answer.',
    remedy: 'Check the database and the disk below it.',
  },
  CLONE_HALF_MADE: {
    kind: 'retry',
    says: 'A clone was left half made and has been removed; it is made again.',
    remedy: 'Nothing. If it repeats, look why the Ceph manager dies: `ceph crash ls`.',
  },
  POLICY_WAITS: {
    kind: 'retry',
    says: 'Half of what the instance or its project may have is used up, and policies take no more than half.',
    remedy: 'Nothing, unless it lasts: raise the limits in the rules.',
  },
  IMAGE_GOING: {
    kind: 'retry',
    says: 'The data of the image is gone, and Glance still shows its record.',
    remedy:
      'Nothing: its owner is deleting it. If it lasts, the volume was removed behind Glance, or Glance died on the way: `openstack image delete`.',
  },
  TIMEOUT: {
    kind: 'retry',
    says: 'The step ran out of time.',
    remedy:
      'Nothing, unless it lasts: see which backend is slow in `rbdsnap run show`. An upload must end within 15 minutes.',
  },
  // -- right wish, wrong road
  CLONE_REFUSED: {
    kind: 'divert',
    says: 'Ceph will not clone this disk.',
    remedy: 'The image is copied instead. For clones the disk needs the feature `layering`: `rbd info POOL/IMAGE`.',
  },
  OTHER_CLUSTER: {
    kind: 'divert',
    says: "The disk is in another Ceph cluster than Glance's pool.",
    remedy: 'The image is uploaded instead. Give Glance a store in that cluster to avoid it.',
  },
  LOCATION_REFUSED: {
    kind: 'divert',
    says: 'Glance will not take a location from us.',
    remedy:
      'The image is uploaded instead. Point us at a Glance endpoint with show_multiple_locations=true, or Glance 2024.2 with the service role.',
  },
  COPY_REFUSED: {
    kind: 'divert',
    says: "Ceph will not copy this disk into Glance's pool.",
    remedy: "The image is uploaded instead. Check the gateway's rights on the pool.",
  },
  // -- cannot be met
  INSTANCE_GONE: {
    kind: 'reject',
    says: 'Nova does not know this instance.',
    remedy: 'Nothing: it was deleted, or the notification came from another cloud.',
  },
  FOREIGN_PROJECT: {
    kind: 'reject',
    says: "The notification names another project than the instance's.",
    remedy: "Find out who can publish on Nova's bus.",
  },
  NO_RBD_DISK: {
    kind: 'reject',
    says: 'The instance has no root disk in a Ceph pool that we can reach.',
    remedy:
      "Volume-backed instances are Cinder's to snapshot. Else check RBDSNAP_NOVA_POOL and the other clusters' configuration.",
  },
  QUIESCE_UNAVAILABLE: {
    kind: 'reject',
    says: 'A consistent snapshot was required and the guest cannot be frozen.',
    remedy: 'Install qemu-guest-agent and set hw_qemu_guest_agent=yes, or ask for `prefer`.',
  },
  QUIESCE_LOST: {
    kind: 'reject',
    says: 'A consistent snapshot was required and the guest thawed before it was taken.',
    remedy: 'Try again; if it repeats, raise RBDSNAP_FREEZE_BUDGET_MS or look at paxos_propose_interval.',
  },
  IMAGE_GONE: {
    kind: 'reject',
    says: 'The image was deleted while we worked on it.',
    remedy: 'Nothing: its owner no longer wants it.',
  },
  UPLOAD_DIED: {
    kind: 'reject',
    says: 'Glance died in the middle of the upload.',
    remedy:
      'Ask for the snapshot again. If it repeats, look why glance-api ends: its log, the kernel (`dmesg`) for its memory.',
  },
  NOVA_DID_IT: {
    kind: 'reject',
    says: 'Nova made the snapshot itself, directly in RBD.',
    remedy: "Nothing: the image is Nova's and is complete.",
  },
  LIMIT_REACHED: {
    kind: 'reject',
    says: 'The instance or its project has used up its snapshots for now.',
    remedy: 'Wait, or raise the limits in the rules.',
  },
  QUOTA: {
    kind: 'reject',
    says: 'Glance refuses the image: quota or size limit.',
    remedy: 'Free images of this project, or raise its quota.',
  },
  POOL_FULL: {
    kind: 'reject',
    says: 'The Ceph pool is full.',
    remedy: "`ceph df`; add space or raise the pool's quota.",
  },
  NO_SPACE: {
    kind: 'reject',
    says: 'There is no room for the file that an upload in this format needs.',
    remedy: 'Make room in RBDSNAP_SNAPSHOTS_DIRECTORY, or upload raw, which needs no file: RBDSNAP_UPLOAD_FORMAT.',
  },
  CALLED_OFF: {
    kind: 'reject',
    says: 'A person called the run off.',
    remedy: 'Nothing: what it made is removed. Ask for the snapshot again if it is wanted after all.',
  },
  // -- a person must look
  NAME_TAKEN: {
    kind: 'park',
    says: 'An object of our name exists and is not ours.',
    remedy: 'Look at the object named; rename or remove it by hand, then `rbdsnap run retry`; or `rbdsnap run unwind`.',
  },
  CEPH_REFUSED: {
    kind: 'park',
    says: "Ceph refuses the gateway's user, role or call.",
    remedy:
      'Check the dashboard user, its password and the scope rbd-image; ten wrong passwords disable it: `ceph dashboard ac-user-enable`.',
  },
  GLANCE_REFUSED: {
    kind: 'park',
    says: 'Glance refuses a call that it should allow.',
    remedy: 'Check the roles of the service user.',
  },
  NOVA_REFUSED: {
    kind: 'park',
    says: 'Nova refuses a call that it should allow.',
    remedy: 'Check the roles of the service user.',
  },
  KEYSTONE_REFUSED: {
    kind: 'park',
    says: 'Keystone refuses our credentials.',
    remedy: 'Check OS_*; a password that expired looks the same.',
  },
  ANSWER_UNREADABLE: {
    kind: 'park',
    says: 'A service answered with something that its API does not have.',
    remedy: "See the words quoted; a proxy's error page is the usual cause.",
  },
  BAD_NOTIFICATION: {
    kind: 'park',
    says: 'A notification could not be read.',
    remedy: 'Look at what is kept of it: `rbdsnap parked list`, `rbdsnap parked show ID`.',
  },
  BAD_MESSAGE: {
    kind: 'park',
    says: 'A message of our own could not be read.',
    remedy: 'It may come from another version; finish runs in flight before an upgrade, or replay the notification.',
  },
  OVERDUE: {
    kind: 'park',
    says: 'The step was tried as often, or for as long, as it may be.',
    remedy:
      'See the last words of the backend in `rbdsnap run show`, mend it, then `rbdsnap run retry`, or `rbdsnap run unwind`.',
  },
  UNDO_FAILED: {
    kind: 'park',
    says: 'Something that we made could not be removed.',
    remedy: 'See which object in `rbdsnap run show`; remove what holds it, then `rbdsnap run retry`.',
  },
  BAD_SETTING: {
    kind: 'park',
    says: 'A setting is missing or wrong.',
    remedy: 'Each one is named in the message; docs/operate.md lists them all.',
  },
  BAD_REQUEST: { kind: 'park', says: 'The command or its argument cannot be understood.', remedy: '`rbdsnap --help`.' },
  UNKNOWN: {
    kind: 'park',
    says: 'Something happened that the code does not know: a bug.',
    remedy: "Please report it with the run's timeline: `rbdsnap run show RUN -f json`.",
  },
} as const satisfies Record<string, FailureRow>

export type FailureCode = keyof typeof failures

/** What stopped a step. `words` name the object and quote the backend; they are shown to people and kept, so no secret stays in. */
export class Failure extends Error {
  readonly code: FailureCode
  readonly words: string
  /** the backend's own Retry-After, when it sent one */
  readonly retryInMs: number | undefined

  constructor(code: FailureCode, words: string, more: { retryInMs?: number; cause?: unknown } = {}) {
    const kept = shorten(blacken(words))
    super(`${code}: ${failures[code].says} ${kept}`, { cause: more.cause })
    this.name = 'Failure'
    this.code = code
    this.words = kept
    this.retryInMs = more.retryInMs
  }

  get kind(): FailureKind {
    return failures[this.code].kind
  }
}

/** Words are kept in messages, timelines and image properties; a backend's page of text is none of them. */
const mostWords = 500
function shorten(words: string): string {
  return words.length > mostWords ? `${words.slice(0, mostWords)}...` : words
}
