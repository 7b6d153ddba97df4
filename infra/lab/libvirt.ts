import { mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { keyOf } from './ceph.ts'
import { home } from './clusters.ts'
import { command } from './command.ts'
import { etc, inLab } from './folders.ts'
import { writeIni } from './ini.ts'
import type { Part } from './part.ts'
import { host, hypervisor, ports, urls } from './ports.ts'

/** The secret that opens the disks: client.nova's key. */
export const secretUuid = '5e0e0f3c-0000-4000-8000-000000000001'
const virsh = (...args: string[]): Promise<string> => command(['virsh', '--connect', urls.libvirt, ...args])

/** libvirt's own places are fixed when it is built. In its own view of the file system they are the lab's. */
const places = {
  etc: '/etc/libvirt',
  run: '/run/libvirt',
  lib: '/var/lib/libvirt',
  cache: '/var/cache/libvirt',
  log: '/var/log/libvirt',
}
const oursFor = (place: string) =>
  place === 'etc' ? etc('libvirt') : place === 'log' ? inLab('logs', 'libvirt') : inLab('libvirt', place)

const libvirtd: Part = {
  name: 'libvirtd',
  needs: ['packages'],
  program() {
    for (const [place, theirs] of Object.entries(places)) {
      mkdirSync(oursFor(place), { recursive: true })
      mkdirSync(theirs, { recursive: true })
    }
    const off = '"none"'
    // No cgroups, no mount namespace per guest, no other user: a container has them not, and a lab needs them not.
    writeIni(etc('libvirt', 'qemu.conf'), {
      '': {
        user: '"root"',
        group: '"root"',
        dynamic_ownership: 0,
        remember_owner: 0,
        security_driver: off,
        cgroup_controllers: '[ ]',
        namespaces: '[ ]',
        stdio_handler: '"file"',
      },
    })
    const conf = writeIni(etc('libvirt', 'libvirtd.conf'), {
      '': {
        listen_tls: 0,
        listen_tcp: 1,
        listen_addr: `"${host}"`,
        tcp_port: `"${ports.libvirt}"`,
        auth_tcp: off,
        auth_unix_ro: off,
        auth_unix_rw: off,
      },
    })
    const binds = Object.entries(places).map(([place, theirs]) => `mount --bind ${oursFor(place)} ${theirs}`)
    const pid = inLab('run', 'libvirtd-own.pid')
    const script = [`hostname ${hypervisor}`, ...binds, `exec libvirtd --listen -f ${conf} -p ${pid}`].join(' && ')
    const view = ['unshare', '--uts', '--mount', '--propagation', 'private']
    return { argv: [...view, 'sh', '-c', script], shows: `libvirtd --listen -f ${conf}` }
  },
  isReady: () => virsh('version').then(() => true),
}

const secret: Part = {
  name: 'libvirt-secret',
  needs: ['libvirtd', 'ceph-pools'],
  async make() {
    const usage = '<usage type="ceph"><name>client.nova</name></usage>'
    await withFile(`<secret ephemeral="no" private="no"><uuid>${secretUuid}</uuid>${usage}</secret>`, (file) =>
      virsh('secret-define', file),
    )
    await withFile(await keyOf(home, 'client.nova'), (file) => virsh('secret-set-value', secretUuid, '--file', file))
  },
}

/** virsh reads no pipe. */
async function withFile(text: string, use: (file: string) => Promise<unknown>): Promise<void> {
  const file = inLab('run', 'libvirt-secret')
  writeFileSync(file, text, { mode: 0o600 })
  await use(file).finally(() => rmSync(file))
}

export const libvirt: Part[] = [libvirtd, secret]

/** A guest outlives its libvirtd; one that is forgotten would keep its disk for ever. */
export async function endGuests(): Promise<void> {
  const running = async () => (await virsh('list', '--name')).split('\n').filter((name) => name !== '')
  for (const name of await running())
    await virsh('destroy', name).catch(async (error: unknown) => {
      // it may have ended by itself since it was listed
      if ((await running()).includes(name)) throw error
    })
}
