import { createHash } from 'node:crypto'
import { closeSync, constants, existsSync, openSync, readFileSync, writeSync } from 'node:fs'
import { command } from './command.ts'
import { inLab } from './folders.ts'
import { dataPartition } from './guest-image.ts'
import type { Lab } from './lab.ts'
import { eventually } from './ready.ts'

/**
 * What the lab's guest (guest/init) lets a test see and do.
 *
 * Consistency is read from the bytes of a disk, with nothing mounted. A frozen ext4 has an empty journal and says so in its
 * superblock: the flag `needs_recovery` is gone, as it is after a clean unmount. And a freeze syncs: the record that nobody
 * else syncs (`lazy`) is then as young as the one that always is (`synced`), while a crash shows the disk without it.
 */
export interface Evidence {
  /** the youngest record of each kind, 0 when there is none */
  synced: number
  lazy: number
  /** the superblock says that there is nothing to replay */
  isClean: boolean
  /** all of it: clean, and nothing was left in memory */
  isConsistent: boolean
}

/** @param spec `pool/image`, or `pool/image@snap` */
export async function evidenceOf(spec: string, conf: string): Promise<Evidence> {
  const data = await readData(spec, conf)
  const [synced, lazy] = [youngest(data, 'synced'), youngest(data, 'lazy')]
  const isClean = !needsRecovery(data)
  // `lazy` is written first, so it may be one ahead.
  return { synced, lazy, isClean, isConsistent: isClean && synced > 0 && lazy >= synced }
}

/**
 * The longest that the guest was between two heartbeats since the one of that number, by its own clock: how long it stood still,
 * from where it stood. At work it is less than a second. The last 512 are there.
 */
export async function longestPauseMs(spec: string, conf: string, sinceNumber: number): Promise<number> {
  const at = new Map(recordsOf(await readData(spec, conf), 'synced').map(({ number, uptimeS }) => [number, uptimeS]))
  const pausesS = [...at]
    .filter(([number]) => number > sinceNumber)
    .map(([number, uptimeS]) => uptimeS - (at.get(number - 1) ?? uptimeS))
  return Math.round(Math.max(0, ...pausesS) * 1_000)
}

function readData(spec: string, conf: string): Promise<Buffer> {
  const [image = '', snap = ''] = spec.split('@')
  const [pool = '', name = ''] = image.split('/')
  const { offsetBytes, sizeBytes } = dataPartition
  const script = `
import base64, rados, rbd, sys
pool, name, snap, conf = sys.argv[1:5]
with rados.Rados(conffile=conf, rados_id="admin") as cluster, cluster.open_ioctx(pool) as ioctx:
    with rbd.Image(ioctx, name, snapshot=snap or None, read_only=True) as image:
        print(base64.b64encode(image.read(${offsetBytes}, ${sizeBytes})).decode())
`
  return command(['python3', '-c', script, pool, name, snap, conf]).then((text) => Buffer.from(text, 'base64'))
}

/** ext4's superblock stands at 1024, its s_feature_incompat at 0x60; bit 2 is INCOMPAT_RECOVER (fs/ext4/ext4.h). */
function needsRecovery(data: Buffer): boolean {
  const superblock = data.subarray(1024)
  if (superblock.readUInt16LE(0x38) !== 0xef53) throw new Error('there is no ext4 where the guest keeps its data')
  return (superblock.readUInt32LE(0x60) & 0x4) !== 0
}

function youngest(data: Buffer, kind: Kind): number {
  return Math.max(0, ...recordsOf(data, kind).map(({ number }) => number))
}

type Kind = 'synced' | 'lazy'

/** Those that are whole. */
function recordsOf(data: Buffer, kind: Kind): { number: number; uptimeS: number }[] {
  const records = data.toString('latin1').matchAll(/(BEAT (\w+) (\d+) ([\d.]+)) ([0-9a-f]{32})\n/g)
  return [...records]
    .filter(([, text = '', of, , , sum]) => of === kind && createHash('md5').update(text).digest('hex') === sum)
    .map(([, , , number, uptimeS]) => ({ number: Number(number), uptimeS: Number(uptimeS) }))
}

/** What the guest has said since it was made; '' before its first boot. */
function readConsole(instance: string): string {
  const path = inLab('nova', 'instances', instance, 'console.log')
  return existsSync(path) ? readFileSync(path, 'latin1') : ''
}

/** No agent answers, as when it was never installed; `startAgent` brings it back. */
export const stopAgent = (lab: Lab, instance: string) => tell(lab, instance, 'agent stop', 'agent stopped')
export const startAgent = (lab: Lab, instance: string) => tell(lab, instance, 'agent start', 'agent started')
/** It takes what it is told and never answers; `wakeAgent` lets it go on. */
export const hangAgent = (lab: Lab, instance: string) => tell(lab, instance, 'agent hang', 'agent hangs')
export const wakeAgent = (lab: Lab, instance: string) => tell(lab, instance, 'agent wake', 'agent awake')
/** So many MiB of noise, from 64 MiB of the disk on. */
export const fillDisk = (lab: Lab, instance: string, mebibytes: number) =>
  tell(lab, instance, `fill ${mebibytes}`, `filled ${mebibytes} MiB`, 600_000)

/** On the guest's serial line, whose other end is held until it has answered: qemu reads nothing while nobody is there. */
async function tell(lab: Lab, instance: string, words: string, answer: string, withinMs = 20_000): Promise<void> {
  const said = () => readConsole(instance).split(`GUEST ${answer}`).length
  const before = said()
  const pty = (await command(['virsh', '--connect', lab.libvirt.uri, 'ttyconsole', instance])).trim()
  const line = openSync(pty, constants.O_RDWR | constants.O_NOCTTY)
  try {
    writeSync(line, `${words}\n`)
    const isHeard = await eventually(() => Promise.resolve(said() > before), { withinMs })
    if (!isHeard) throw new Error(`the guest ${instance} did not answer "${words}" within ${withinMs / 1000} s`)
  } finally {
    closeSync(line)
  }
}
