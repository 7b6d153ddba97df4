import { existsSync, rmSync, writeFileSync } from 'node:fs'
import { command } from './command.ts'
import { logOf } from './folders.ts'
import type { Part } from './part.ts'

const wanted = `
  ceph-mon ceph-mgr ceph-mgr-dashboard ceph-osd ceph-common python3-rados python3-rbd
  rabbitmq-server mariadb-server mariadb-client
  keystone glance-api glance-common placement-api neutron-server neutron-plugin-ml2
  nova-api nova-conductor nova-scheduler nova-compute nova-compute-kvm nova-common
  python3-openstackclient python3-pymysql uwsgi-core uwsgi-plugin-python3
  libvirt-daemon libvirt-daemon-system libvirt-clients libvirt-daemon-driver-qemu libvirt-daemon-driver-storage-rbd
  python3-libvirt qemu-system-x86 qemu-utils qemu-block-extra
  linux-image-cloud-amd64 busybox-static qemu-guest-agent syslinux syslinux-common mtools dosfstools e2fsprogs fdisk cpio kmod
  util-linux
`
  .trim()
  .split(/\s+/)

/** The packages' own set-up would ask for, and configure, databases of another place than the lab's. */
const answersToDebconf = `
keystone keystone/configure_db boolean false
keystone keystone/register-endpoint boolean false
keystone keystone/create-admin-tenant boolean false
glance-common glance/configure_db boolean false
nova-common nova/configure_db boolean false
nova-api nova/register-endpoint boolean false
placement-common placement/configure_db boolean false
neutron-common neutron/configure_db boolean false
`

export const packages: Part = {
  name: 'packages',
  needs: [],
  async make() {
    const missing = await missingPackages()
    if (missing.length === 0) return
    await withoutServices(async () => {
      await command(['debconf-set-selections'], { input: answersToDebconf })
      // Nobody boots this kernel here; making a ramdisk for it takes longer than all else.
      const env = { DEBIAN_FRONTEND: 'noninteractive', INITRD: 'No' }
      const apt = ['apt-get', '-o', 'DPkg::Lock::Timeout=900', '-o', 'Dpkg::Options::=--force-unsafe-io']
      const options = { env, log: logOf('packages'), withinMs: 1_800_000 }
      await command([...apt, 'update'], options)
      await command([...apt, 'install', '--yes', '--no-install-recommends', ...missing], options)
    })
  },
}

async function missingPackages(): Promise<string[]> {
  const format = '${Package} ${db:Status-Status}\n'
  // It fails when one of them is not known, and says the others all the same.
  const known = await command(['sh', '-c', `dpkg-query -W -f='${format}' ${wanted.join(' ')} 2>/dev/null || true`])
  return wanted.filter((name) => !known.split('\n').includes(`${name} installed`))
}

/** Debian starts a service when it is installed, unless this file says no. */
const policy = '/usr/sbin/policy-rc.d'
async function withoutServices(install: () => Promise<void>): Promise<void> {
  const isOurs = !existsSync(policy)
  if (isOurs) writeFileSync(policy, '#!/bin/sh\nexit 101\n', { mode: 0o755 })
  try {
    await install()
  } finally {
    if (isOurs) rmSync(policy, { force: true })
  }
}
