import {
  chmodSync,
  copyFileSync,
  mkdirSync,
  readdirSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { command } from './command.ts'
import { inLab, logOf } from './folders.ts'
import type { Part } from './part.ts'

/**
 * A guest that boots in seconds without acceleration: SYSLINUX, Debian's kernel for clouds, one ramdisk of busybox and
 * qemu-guest-agent, and an ext4 file system that guest/init writes its heartbeat to.
 *
 *   1 MiB  FAT: kernel and ramdisk      32 MiB  ext4, 16 MiB: /data      48 MiB  end of the image
 */
export const guestRaw = inLab('guest', 'guest.raw')
export const guestQcow2 = inLab('guest', 'guest.qcow2')
export const dataPartition = { offsetBytes: 32 * 1024 ** 2, sizeBytes: 16 * 1024 ** 2 }
const bootPartition = { offsetBytes: 1024 ** 2, sizeBytes: 31 * 1024 ** 2 }

const root = inLab('guest', 'root')
const sources = fileURLToPath(new URL('guest', import.meta.url))
const modules = [
  'virtio_pci',
  'virtio_blk',
  'virtio_scsi',
  'sd_mod',
  'virtio_console',
  'virtio_rng',
  'ext4',
  'crc32c_generic',
  'button',
  'evdev',
]

const run = (...argv: string[]) => command(argv, { log: logOf('guest-image'), cwd: inLab('guest') })

export const guestImage: Part = {
  name: 'guest-image',
  needs: ['packages'],
  async make() {
    rmSync(inLab('guest'), { recursive: true, force: true })
    for (const name of ['bin', 'sbin', 'usr/sbin', 'proc', 'sys', 'dev', 'run', 'data', 'tmp', 'etc', 'var/run']) {
      mkdirSync(join(root, name), { recursive: true })
    }
    const release = newestKernel()
    await addKernelModules(release)
    await addWithLibraries('/usr/sbin/qemu-ga')
    copyFileSync('/bin/busybox', join(root, 'bin/busybox'))
    symlinkSync('/bin/busybox', join(root, 'bin/sh'))
    for (const [from, to] of [
      ['init', 'init'],
      ['shutdown', 'sbin/shutdown'],
    ] as const) {
      copyFileSync(join(sources, from), join(root, to))
      chmodSync(join(root, to), 0o755)
    }
    await run('sh', '-c', 'cd root && find . | cpio -o -H newc --quiet | gzip -9 >../initrd.gz')
    await makeDisk(release)
    await run('qemu-img', 'convert', '-O', 'qcow2', guestRaw, guestQcow2)
  },
}

function newestKernel(): string {
  const releases = readdirSync('/lib/modules').filter((name) => name.endsWith('-cloud-amd64'))
  const newest = releases.sort(new Intl.Collator('en', { numeric: true }).compare).at(-1)
  if (newest === undefined)
    throw new Error('no kernel *-cloud-amd64 in /lib/modules: the package linux-image-cloud-amd64 is missing')
  return newest
}

async function addKernelModules(release: string): Promise<void> {
  const from = join('/lib/modules', release)
  mkdirSync(join(root, from), { recursive: true })
  for (const module of modules) {
    // One that is part of the kernel is named "builtin", and needs no file.
    const shown = await run('modprobe', '-S', release, '--show-depends', module).catch(() => '')
    for (const [, path = ''] of shown.matchAll(/^insmod (\S+)/gm)) {
      mkdirSync(dirname(join(root, path)), { recursive: true })
      copyFileSync(path, join(root, path))
    }
  }
  for (const name of ['modules.builtin', 'modules.order']) copyFileSync(join(from, name), join(root, from, name))
  await run('depmod', '-b', root, release)
}

async function addWithLibraries(program: string): Promise<void> {
  const libraries = await run('ldd', program)
  for (const path of [program, ...[...libraries.matchAll(/(\/\S+) \(0x/g)].map(([, found = '']) => found)]) {
    mkdirSync(dirname(join(root, path)), { recursive: true })
    copyFileSync(path, join(root, path))
  }
}

async function makeDisk(release: string): Promise<void> {
  const boot = `${guestRaw}@@${bootPartition.offsetBytes}`
  const sectors = (bytes: number) => bytes / 512
  writeFileSync(guestRaw, '')
  truncateSync(guestRaw, dataPartition.offsetBytes + dataPartition.sizeBytes)
  const row = ({ offsetBytes, sizeBytes }: typeof bootPartition, rest: string) =>
    `${sectors(offsetBytes)},${sectors(sizeBytes)},${rest}\n`
  await command(['sfdisk', '--quiet', guestRaw], {
    input: `label: dos\n${row(bootPartition, 'e,*')}${row(dataPartition, '83')}`,
  })
  await run('dd', 'if=/usr/lib/syslinux/mbr/mbr.bin', `of=${guestRaw}`, 'conv=notrunc', 'bs=440', 'count=1')
  const [offset, kibibytes] = [sectors(bootPartition.offsetBytes), bootPartition.sizeBytes / 1024]
  await run('mkfs.vfat', '-F', '16', '-n', 'BOOT', '--offset', String(offset), guestRaw, String(kibibytes))
  const settings = inLab('guest', 'syslinux.cfg')
  writeFileSync(
    settings,
    'DEFAULT guest\nPROMPT 0\nSERIAL 0 115200\nLABEL guest\n KERNEL vmlinuz\n' +
      ' APPEND initrd=initrd.gz console=ttyS0 quiet panic=5 mitigations=off\n',
  )
  await run('mcopy', '-i', boot, join('/boot', `vmlinuz-${release}`), '::vmlinuz')
  for (const path of [inLab('guest', 'initrd.gz'), settings])
    await run('mcopy', '-i', boot, path, `::${basename(path)}`)
  await run('syslinux', '--install', '--offset', String(bootPartition.offsetBytes), guestRaw)
  await makeData()
}

/** Both files are there with all their blocks, so that to write them later changes data only, and no metadata drags it along. */
async function makeData(): Promise<void> {
  const files = inLab('guest', 'data')
  mkdirSync(files)
  for (const name of ['synced', 'lazy']) writeFileSync(join(files, name), Buffer.alloc(512 * 512, ' '))
  const partition = inLab('guest', 'data.img')
  writeFileSync(partition, '')
  truncateSync(partition, dataPartition.sizeBytes)
  await run('mkfs.ext4', '-q', '-F', '-b', '1024', '-L', 'data', '-d', files, partition)
  const seek = String(dataPartition.offsetBytes / 1024 ** 2)
  await run('dd', `if=${partition}`, `of=${guestRaw}`, 'conv=notrunc,sparse', 'bs=1M', `seek=${seek}`)
  rmSync(partition)
}
