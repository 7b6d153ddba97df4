// Ceph's `ceph` command (16.2) for the embedded cloud: what rbdsnap asks of it, in its words and with its exit codes.
import { poolFull } from './ceph-health.ts'
import { parseArguments, Usage } from './rbd-arguments.ts'
import { type RbdClient, rbdClient, RbdRefused } from './rbd-client.ts'
import type { RbdTasks } from './rbd-tasks.ts'

type Task = ReturnType<RbdTasks['list']>[number]

const names: Record<number, string> = { 2: 'ENOENT', 22: 'EINVAL' }

/** A command of the monitors or of the active manager was refused. */
function fail(errno: number, words: string): never {
  process.stderr.write(`Error ${names[errno] ?? String(errno)}: ${words}\n`)
  process.exit(errno)
}

function taskJson({ id, sequence, pool, image, imageId, fraction }: Task) {
  const refs = { action: 'flatten', pool_name: pool, pool_namespace: '', image_name: image, image_id: imageId }
  const progress = fraction === null ? {} : { in_progress: true, progress: fraction }
  return { sequence, id, message: `Flattening image ${pool}/${image}`, refs, ...progress }
}

const none = { pool: '', image: '' }

interface Facts {
  fsid: string
  cloneFormat: 1 | 2
  fullPools: string[]
}

/** A missing image and one without a parent are both ENOENT here. */
async function addFlatten(ceph: RbdClient, spec: string): Promise<void> {
  const [pool = '', image = ''] = spec.split('/')
  const added = await ceph('task-add', { pool, image }).catch((error: unknown) => {
    if (!(error instanceof RbdRefused) || error.component === 'cluster') throw error
    if (error.component === 'pool') {
      return fail(2, `[errno 2] RADOS object not found (error opening pool '${pool}')`)
    }
    const why = error.errno === 22 ? 'does not have a parent' : 'does not exist'
    return fail(2, `[errno 2] RBD image not found (Image ${spec} ${why})`)
  })
  print(taskJson(JSON.parse(added.toString()) as Task))
}

async function listTasks(ceph: RbdClient): Promise<void> {
  const tasks = JSON.parse((await ceph('task-list', none)).toString()) as Task[]
  print(tasks.map(taskJson))
}

async function cancelTask(ceph: RbdClient, id: string): Promise<void> {
  await ceph('task-cancel', { ...none, snap: id }).catch((error: unknown) => {
    if (error instanceof RbdRefused && error.errno === 2) fail(2, `No such task ${id}`)
    throw error
  })
}

const print = (value: unknown) => void process.stdout.write(`\n${JSON.stringify(value)}\n`)

async function run() {
  const { conf, words } = parseArguments(process.argv.slice(2))
  const ceph = rbdClient(conf)
  const [first, ...operands] = words
  const command = [first, ...operands.slice(0, -1)].join(' ')
  const last = operands.at(-1) ?? ''
  if (words.join(' ') === 'rbd task list') return listTasks(ceph)
  if (command === 'rbd task add flatten') return addFlatten(ceph, last)
  if (command === 'rbd task cancel') return cancelTask(ceph, last)
  if (words.join(' ') === 'version')
    return void process.stdout.write('ceph version 16.2.15 (embedded) pacific (stable)\n')
  const facts = JSON.parse((await ceph('facts', none)).toString()) as Facts
  if (words.join(' ') === 'fsid') return void process.stdout.write(`${facts.fsid}\n`)
  if (words.join(' ') === 'osd dump') {
    return print({ fsid: facts.fsid, require_min_compat_client: facts.cloneFormat === 2 ? 'mimic' : 'luminous' })
  }
  if (words.join(' ') === 'health detail') {
    const check = poolFull(facts.fullPools)
    return print({ status: check?.severity ?? 'HEALTH_OK', checks: check ? { POOL_FULL: check } : {}, mutes: [] })
  }
  return fail(22, 'invalid command')
}

await run().catch((error: unknown) => {
  if (error instanceof Usage) return fail(22, error.message)
  if (!(error instanceof RbdRefused) || error.component !== 'cluster') throw error
  process.stderr.write(
    error.errno === 2
      ? "Error initializing cluster client: ObjectNotFound('RADOS object not found (error calling conf_read_file)')\n"
      : `[errno ${String(error.errno)}] error connecting to the cluster\n`,
  )
  process.exitCode = 1
})
