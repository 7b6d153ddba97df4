import { mkdtempSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { commandFacts } from '../../../shared/adapters/ceph-facts.ts'
import { flattenByTask } from '../../../shared/adapters/ceph-flatten.ts'
import { qcow2Reader } from '../../../shared/adapters/qcow2-reader.ts'
import { commandCalls as trueCalls } from '../../../shared/adapters/rbd-commands.ts'
import { rbdReader } from '../../../shared/adapters/rbd-reader.ts'
import { Failure, failures } from '../../../shared/failures.ts'
import { ids } from '../calls.ts'
import { holds, type Target } from '../target.ts'

/** What `rbd`, `ceph` and `qemu-img` print, and how they end. */
export function commandTarget(commandCalls = trueCalls): Target {
  const folder = mkdtempSync(join(tmpdir(), 'rbdsnap-fuzz-'))
  const path = (name: string) => join(folder, name)
  const print = `cat ${path('stdout')}; cat ${path('stderr')} >&2; exit $(cat ${path('code')})`
  const rbd = { command: ['sh', '-c', print], conf: '/etc/ceph/ceph.conf', user: null }
  const readers = { ...rbd, confs: { home: rbd.conf }, directory: folder }
  const calls = commandCalls(rbd)
  const facts = commandFacts({ ...rbd, ceph: rbd.command })
  const byTask = flattenByTask(calls, rbd)
  const acts: Record<string, (signal: AbortSignal) => Promise<unknown>> = {
    look: (signal) => calls.look(disk, signal),
    createSnap: (signal) => calls.createSnap(source, signal),
    underWay: (signal) => byTask.underWay('flatten', disk, signal),
    callOff: (signal) => byTask.callOff?.(disk, signal) ?? Promise.resolve(),
    version: (signal) => facts.version(signal),
    cloneFormat: (signal) => facts.cloneFormat('vms', signal),
    features: (signal) => facts.features(disk, signal),
    raw: (signal) => drained(rbdReader(readers).read('home', source, signal)),
    qcow2: (signal) => drained(qcow2Reader(readers).read('home', source, signal)),
  }
  return {
    name: 'command',
    covers: [
      'rbd-commands',
      'rbd-process',
      'rbd-failures',
      'rbd-reader',
      'ceph-facts',
      'ceph-flatten',
      'qcow2-reader',
    ].map((name) => `shared/adapters/${name}.ts`),
    seeds: () => seeds.map((seed) => JSON.stringify(seed)),
    async feed(input) {
      const { call, code, stdout, stderr } = readInput(input, Object.keys(acts))
      writeFileSync(path('stdout'), stdout)
      writeFileSync(path('stderr'), stderr)
      writeFileSync(path('code'), String(code))
      const act = acts[call]
      if (!act) throw new Error(`no call ${call}`)
      try {
        return `${call}: gave ${JSON.stringify(await act(AbortSignal.timeout(5_000)))?.slice(0, 24)}`
      } catch (error) {
        if (!(error instanceof Failure)) throw error
        const isCode = error.code in failures && error.code !== 'UNKNOWN' && error.code !== 'TIMEOUT'
        holds(isCode, `${call} failed with ${error.code}: ${error.words}`)
        return `${call}: ${error.code}`
      }
    },
  }
}

const disk = { pool: 'vms', image: `${ids.instance}_disk` }
const source = { ...disk, snap: 'rbdsnap-source' }

const info = {
  name: disk.image,
  size: 65_536,
  block_name_prefix: 'rbd_data.1',
  features: ['layering'],
  snapshot_count: 1,
  parent: { pool: 'images', image: ids.image, snapshot: 'snap' },
}
const seeds = [
  { call: 'look', code: 0, stdout: JSON.stringify(info), stderr: '' },
  { call: 'look', code: 0, stdout: JSON.stringify({ ...info, snapshot_count: 0 }), stderr: '' },
  { call: 'look', code: 2, stdout: '', stderr: 'rbd: error opening image x: (2) No such file or directory\n' },
  { call: 'createSnap', code: 17, stdout: '', stderr: 'rbd: failed to create snapshot: (17) File exists\n' },
  { call: 'createSnap', code: 1, stdout: '', stderr: "rbd: couldn't connect to the cluster!\n" },
  {
    call: 'underWay',
    code: 0,
    stdout: JSON.stringify([
      { id: 'a', progress: 0.5, refs: { action: 'flatten', pool_name: 'vms', image_name: disk.image } },
    ]),
    stderr: '',
  },
  { call: 'version', code: 0, stdout: 'ceph version 16.2.15 (618f) pacific (stable)\n', stderr: '' },
  { call: 'cloneFormat', code: 0, stdout: '{"require_min_compat_client":"luminous"}', stderr: '' },
  { call: 'cloneFormat', code: 0, stdout: '[{"name":"rbd_default_clone_format","value":"2"}]', stderr: '' },
  { call: 'features', code: 0, stdout: JSON.stringify(info), stderr: '' },
  { call: 'raw', code: 0, stdout: '{"size":12}', stderr: '' },
  { call: 'qcow2', code: 0, stdout: '{"required":196616,"fully-allocated":196616}', stderr: '' },
  { call: 'qcow2', code: 1, stdout: '', stderr: "qemu-img: Could not open 'rbd:x': No space left on device\n" },
]

function readInput(input: string, names: string[]) {
  const whole = { call: 'look', code: 0, stdout: input, stderr: '' }
  try {
    const read = JSON.parse(input) as Partial<Record<keyof typeof whole, unknown>> | null
    const text = (value: unknown) => (typeof value === 'string' ? value : JSON.stringify(value ?? null))
    return {
      call: names.find((name) => name === read?.call) ?? 'look',
      code: typeof read?.code === 'number' ? Math.abs(Math.trunc(read.code)) % 256 : 0,
      stdout: text(read?.stdout),
      stderr: text(read?.stderr ?? ''),
    }
  } catch {
    return whole
  }
}

async function drained(stream: ReadableStream<Uint8Array>): Promise<number> {
  let bytes = 0
  for await (const chunk of stream) bytes += chunk.length
  return bytes
}
