import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { Failure } from '../../shared/failures.ts'

/** What a lab that is up says of itself: `lab:up` writes it, the tests, the bench and `rbdsnap doctor` read it. */
export interface Lab {
  folder: string
  /** the settings as an operator of this cloud would give them: our own service user, dashboard user and cephx user */
  env: Record<string, string>
  authUrl: string
  region: string
  people: Record<'admin' | 'tenant' | 'other' | 'service', Person>
  /** `public` hides locations from everybody, `internal` shows them (OSSN-0090) */
  glance: { public: string; internal: string }
  nova: string
  ceph: {
    fsid: string
    /** with the administrator's keyring beside it, as `ceph` and `rbd` find it */
    conf: string
    /** one URL a manager */
    dashboards: string[]
    administrator: { user: string; password: string }
    pools: { disks: string; images: string }
  }
  /** a second, small cluster, for disks that no clone can reach */
  otherCeph: { fsid: string; conf: string }
  bus: { url: string; managementUrl: string }
  libvirt: { uri: string; hypervisor: string }
  /**
   * image ids, all of one guest: `agent` announces its guest agent, `plain` does not, and both are raw in Glance's rbd store, so
   * that disks are their clones; `flat` is `agent` as qcow2, which Nova copies
   */
  images: { agent: string; plain: string; flat: string }
}

export interface Person {
  name: string
  password: string
  project: string
  projectId: string
}

export const labFolder = process.env['RBDSNAP_LAB_DIR'] ?? '/var/tmp/rbdsnap-lab'

/** @throws Failure BAD_SETTING when no lab is up */
export function readLab(folder: string = labFolder): Lab {
  const path = join(folder, 'lab.json')
  try {
    return JSON.parse(readFileSync(path, 'utf8')) as Lab
  } catch (error) {
    throw new Failure('BAD_SETTING', `no lab is up: ${path}: ${(error as Error).message}. Start one: npm run lab:up`)
  }
}
