import * as z from 'zod/mini'
import { commandFacts } from '../../shared/adapters/ceph-facts.ts'
import { parseJson } from '../../shared/adapters/http.ts'
import { quote } from '../../shared/adapters/words.ts'
import { type Ended, type RbdCommand, run } from '../../shared/adapters/rbd-process.ts'
import type { Site } from './site.ts'
import { about, fail, NotAsked, ok, type Verdict, warn } from './verdict.ts'

const optionsShape = z.array(z.object({ name: z.string(), value: z.string() }))

function rbdOf(site: Site, conf: string): RbdCommand {
  return { command: site.given('RBDSNAP_RBD_COMMAND').split(' '), conf, user: site.given('RBDSNAP_RBD_USER') ?? null }
}

/** It looks for its monitors five minutes long by itself. */
const cephMs = 8_000

/** @throws NotAsked without it, or when it reaches nobody */
async function askCeph(site: Site, args: string[], signal: AbortSignal, remedy: string): Promise<Ended> {
  const command = site.given('RBDSNAP_CEPH_COMMAND')
  if (command === undefined) throw new NotAsked('RBDSNAP_CEPH_COMMAND is not set', remedy)
  const ceph = { ...rbdOf(site, site.given('RBDSNAP_RBD_CONF')), command: command.split(' ') }
  const patience = AbortSignal.timeout(cephMs)
  try {
    return await run(ceph, `ceph ${args.join(' ')}`, args, AbortSignal.any([signal, patience]))
  } catch (error) {
    const why = patience.aborted ? `it reached no monitor in ${cephMs / 1000} s` : (error as Error).message
    throw new NotAsked(`\`ceph ${args.join(' ')}\`: ${why}`, remedy)
  }
}

/** The command, its key and the pool of disks: for uploads, and for everything in other clusters. */
export async function command(site: Site, signal: AbortSignal): Promise<Verdict[]> {
  const pool = site.given('RBDSNAP_NOVA_POOL')
  const all = [site.given('RBDSNAP_RBD_CONF'), ...site.given('RBDSNAP_RBD_OTHER_CONFS')]
  return Promise.all(
    all.map(async (conf) => {
      const missing = await commandFacts({ ...rbdOf(site, conf), ceph: null }).missingRights([pool], signal)
      if (missing.length === 0) return about(conf, ok(`\`rbd\` reads the pool ${pool}`))
      return about(conf, fail(`the key lacks ${missing.join('; ')}`, 'RBDSNAP_RBD_USER; docs/operate.md, "Rights".'))
    }),
  )
}

/** A flatten that outlives its manager is a task of `ceph rbd task`; the settings' cluster against the one that answers. */
export async function ceph(site: Site, signal: AbortSignal): Promise<Verdict> {
  const wanted = site.given('RBDSNAP_CEPH_FSID').toLowerCase()
  const remedy = 'RBDSNAP_CEPH_COMMAND, as a rule `ceph`: without it a flatten ends with its manager and begins anew.'
  const asked = await askCeph(site, ['fsid'], signal, remedy)
  if (asked.code !== 0) return warn(`ceph fsid: ${last(asked.stderr)}`, "The key needs mon 'profile rbd'.")
  const fsid = asked.stdout.trim()
  if (fsid !== wanted) return fail(`ceph answers for ${fsid}, RBDSNAP_CEPH_FSID is ${wanted}`, 'RBDSNAP_CEPH_FSID.')
  const tasks = await askCeph(site, ['rbd', 'task', 'list'], signal, remedy)
  if (tasks.code !== 0)
    return warn(
      `ceph rbd task list: ${last(tasks.stderr)}`,
      "The key needs mgr 'profile rbd' for flattens that outlive a manager.",
    )
  return ok(`${fsid} answers, and takes flattens as its own tasks`)
}

/**
 * What a client of librbd with our key gets from the monitors: `ceph config get` needs more than `profile rbd` (EACCES,
 * Ceph 16.2). Nova's client has the same value unless it has one of its own.
 */
export async function parentToTrash(site: Site, signal: AbortSignal): Promise<Verdict> {
  const name = 'rbd_move_parent_to_trash_on_remove'
  const remedy = `ceph config set client ${name} true`
  const rbd = rbdOf(site, site.given('RBDSNAP_RBD_CONF'))
  const args = ['config', 'pool', 'ls', site.given('RBDSNAP_NOVA_POOL'), '--format', 'json']
  const asked = await run(rbd, name, args, signal)
  const options = optionsShape.safeParse(parseJson(asked.stdout))
  const value = options.success ? options.data.find((option) => option.name === name)?.value : undefined
  if (value === undefined)
    throw new NotAsked(`rbd does not tell its options: ${last(asked.stderr)}`, `Recommended: ${remedy}`)
  if (value === 'true') return ok('Nova can delete an instance whose disk still has a linked clone')
  return warn('false: Nova leaves the disk of an instance behind that is deleted before its image is flattened', remedy)
}

/** Every snapshot waits for a round of the monitors. */
export async function monitors(site: Site, signal: AbortSignal): Promise<Verdict> {
  const name = 'paxos_propose_interval'
  const asked = await asAdmin(site, ['config', 'get', 'mon', name], signal)
  const seconds = Number(asked.trim())
  const said = `${name} is ${seconds} s: what a snapshot waits for at most, twice until its image is usable`
  if (seconds <= 1) return ok(said)
  return warn(said, `ceph config set mon ${name} 1; 0.1 on a small cluster.`)
}

/** Until it is flattened Glance opens a clone through its parent, and removes it there as well. */
export async function glanceCaps(site: Site, signal: AbortSignal): Promise<Verdict> {
  const pool = site.given('RBDSNAP_NOVA_POOL')
  const text = await asAdmin(site, ['auth', 'get', 'client.glance'], signal)
  const caps = /^\s*caps osd = "(?<caps>[^"]*)"/m.exec(text)?.groups?.['caps'] ?? ''
  if (caps.split(',').some((grant) => reaches(grant.trim(), pool))) return ok(`client.glance: ${caps}`)
  return fail(
    `client.glance may not use ${pool}: ${caps || 'no caps'}`,
    `Add \`profile rbd pool=${pool}\` to its osd caps: \`ceph auth caps client.glance ...\`, with those that it has.`,
  )
}

/** One grant of an osd capability: for every pool when it names none. */
function reaches(grant: string, pool: string): boolean {
  const isWhole = /^(?:profile rbd|allow (?:\*|rwx))(?:\s|$)/.test(grant)
  const named = /\bpool[= ]"?([^\s"]+)/.exec(grant)?.[1]
  return isWhole && (named === undefined || named === pool)
}

/** What only an administrator's key may ask, which ours need not be. Nothing of the answer but what is looked for is shown. */
async function asAdmin(site: Site, args: string[], signal: AbortSignal): Promise<string> {
  const shown = `ceph ${args.join(' ')}`
  const remedy = `With the administrator's key: \`${shown}\`; docs/operate.md says what it should say.`
  const asked = await askCeph(site, args, signal, remedy)
  if (asked.code !== 0) throw new NotAsked(`${shown}: ${last(asked.stderr)}`, remedy)
  return asked.stdout
}

/** Before it come the client's own warnings. */
const last = (stderr: string) => quote(stderr.trim().split('\n').at(-1) ?? '')
