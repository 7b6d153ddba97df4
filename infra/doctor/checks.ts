import * as bus from './bus.ts'
import * as ceph from './ceph.ts'
import type { Check } from './check.ts'
import { clocks } from './clocks.ts'
import * as glance from './glance.ts'
import { guest } from './guest.ts'
import { journal } from './journal.ts'
import * as keystone from './keystone.ts'
import { managers } from './managers.ts'
import * as nova from './nova.ts'
import { queues } from './queue.ts'
import * as rbd from './rbd.ts'
import { rules, settings } from './settings.ts'
import { snapshotsDirectory } from './snapshots-directory.ts'

/** Everything that `rbdsnap doctor` asks. A check comes after those without which it cannot be asked. */
// a table reads as a table
// prettier-ignore
export const checks: Check[] = [
  { name: 'setting', ask: settings },
  { name: 'rules', ask: rules },

  { name: 'keystone token', ask: keystone.token },
  { name: 'keystone roles', after: ['keystone token'], ask: keystone.roles },
  { name: 'keystone catalogue', after: ['keystone token'], ask: keystone.catalogue },
  { name: 'glance', after: ['keystone catalogue'], ask: glance.api },
  { name: 'glance store', after: ['glance'], ask: glance.store },
  { name: 'glance locations', after: ['glance'], ask: glance.locations },
  { name: 'glance public endpoint', after: ['glance'], ask: glance.publicEndpoint },
  { name: 'nova servers', after: ['keystone catalogue'], ask: nova.servers },
  { name: 'nova computes', after: ['keystone catalogue'], ask: nova.computes },

  { name: 'ceph manager', ask: managers },
  { name: 'ceph login', after: ['ceph manager'], ask: ceph.login },
  { name: 'ceph role', after: ['ceph login'], ask: ceph.role },
  { name: 'ceph pool', after: ['ceph role'], ask: ceph.poolsThere },
  { name: 'ceph clone format', after: ['ceph role'], ask: ceph.cloneFormat },
  { name: 'ceph disks', after: ['ceph pool', 'nova servers'], ask: ceph.disks },
  { name: 'ceph conf', ask: ceph.confs },
  { name: 'same cluster', after: ['glance locations'], ask: glance.sameCluster },
  { name: 'rbd command', after: ['ceph conf'], ask: rbd.command },
  { name: 'ceph command', after: ['ceph conf'], ask: rbd.ceph },
  { name: 'ceph parent to trash', after: ['rbd command'], ask: rbd.parentToTrash },
  { name: 'ceph monitors', after: ['ceph command'], ask: rbd.monitors },
  { name: 'ceph caps of glance', after: ['ceph command'], ask: rbd.glanceCaps },

  { name: 'bus', ask: bus.nodes },
  { name: 'bus exchange', after: ['bus'], ask: bus.exchange },
  { name: 'bus queue', after: ['bus'], ask: bus.queue },
  { name: 'guest', after: ['nova computes'], ask: guest },

  { name: 'queue', ask: queues },
  { name: 'journal', ask: journal },
  { name: 'snapshots directory', ask: snapshotsDirectory },
  { name: 'clocks', ask: clocks },
]
