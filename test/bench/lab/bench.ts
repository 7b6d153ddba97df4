import { execFile } from 'node:child_process'
import { cpus, loadavg } from 'node:os'
import { parseArgs, promisify } from 'node:util'
import { signIn } from '../../lab/support/rest.ts'
import { openStory, type Story } from '../../lab/support/story.ts'
import { show, spreadOf } from '../stats.ts'
import { byHand } from './by-hand.ts'
import { bootWithData, type DiskShape } from './disks.ts'

/**
 * npm run bench:lab [-- --rounds 10 --long-rounds 3 --only 1G-0.1G]: on the real cloud of `npm run lab:up`, request to image active:
 *
 *   ours      `openstack server set --tag`, through bus, bridge, queues and functions
 *   by hand   the bare sequence of the same calls in one warm process
 *   direct    Nova's createImage on a disk that it can clone
 *   long      Nova's createImage on a flat disk whose base image is gone: qemu-img convert and upload
 *   upload    ours, where Glance takes no location: streamed out of Ceph into Glance
 *
 * Interleaved, a round at a time, so that the noise of the machine meets all of them alike; the ratios are of medians in one run.
 */
const gibibyte = 1024 ** 3
const shapes: DiskShape[] = [
  { label: '1G-0.1G', flavor: 'lab.1', dataBytes: 0.1 * gibibyte },
  { label: '1G-0.9G', flavor: 'lab.1', dataBytes: 0.87 * gibibyte },
  { label: '4G-4G', flavor: 'lab.4', dataBytes: 3.87 * gibibyte },
].map((shape) => ({ ...shape, dataBytes: Math.floor(shape.dataBytes / 4096) * 4096 }))

/** A tenth of what is to be told apart; each look costs Glance some hundredths of a second. */
const lookEveryMs = 100

const say = (line: string) => process.stdout.write(`${line}\n`)
const load = () =>
  loadavg()
    .map((l) => l.toFixed(1))
    .join(' ')

/** @throws Error before a full cluster makes everybody wait: Ceph holds writes back until there is room, and what is measured is that. */
async function checkRoom({ lab }: Story, { label, dataBytes }: DiskShape): Promise<void> {
  const { stdout } = await promisify(execFile)('ceph', ['--conf', lab.ceph.conf, 'df', '--format', 'json'])
  const { stats } = JSON.parse(stdout) as { stats: { total_avail_bytes: number } }
  const [free, wanted] = [stats.total_avail_bytes, 2 * dataBytes].map((bytes) => (bytes / gibibyte).toFixed(1))
  if (stats.total_avail_bytes < 2 * dataBytes)
    throw new Error(
      `${label}: ${free} GiB are free in the cluster, and ${wanted} needed. Make the lab anew with a larger RBDSNAP_LAB_OSD_GIB.`,
    )
}

interface Bench {
  ours: Story
  /** its engine is stopped: what this tenant asks for stays Nova's own */
  nova: Story
  /** null: without the slow roads */
  uploading: Story | null
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      rounds: { type: 'string', default: '10' },
      'long-rounds': { type: 'string', default: '3' },
      only: { type: 'string' },
    },
  })
  say(`node ${process.version}, ${cpus().length} cores (${cpus()[0]?.model ?? '?'}), load ${load()}`)
  const ours = await openStory()
  const nova = await openStory()
  await nova.engine.stack.stop()
  const longRounds = Number(values['long-rounds'])
  const uploading = longRounds > 0 ? await openStory({ settings: { OS_INTERFACE: 'public' } }) : null
  try {
    const chosen = shapes.filter((shape) => values.only === undefined || shape.label === values.only)
    for (const shape of chosen) {
      await measure({ ours, nova, uploading }, shape, Number(values.rounds), longRounds)
    }
    await together(ours, 16)
  } finally {
    await Promise.allSettled([ours.close(), nova.close(), uploading?.close()])
  }
  say('flattens')
  await flattens({ RBDSNAP_FLATTENS_AT_ONCE: '1' }, 'one at a time')
  await flattens({ RBDSNAP_FLATTENS_AT_ONCE: '64' }, 'no budget')
  say(`load ${load()}`)
}

async function measure({ ours, nova, uploading }: Bench, shape: DiskShape, rounds: number, longRounds: number) {
  say(shape.label)
  const mine = await bootWithData(ours, shape, 'clone')
  const direct = await bootWithData(nova, shape, 'clone')
  const slow = uploading && {
    uploading,
    long: await bootWithData(nova, shape, 'orphaned-flat'),
    sent: await bootWithData(uploading, shape, 'clone'),
  }
  const hand = byHand(ours)
  // Functions that nobody has called yet take seconds to start; what is compared with them is one warm process.
  const cold = await tagged(ours, mine, `bench-${shape.label}-first`)
  await hand.usableMs(mine)
  if (slow) await tagged(slow.uploading, slow.sent, 'bench-upload-first')
  say(`  ours, the first wish ${Math.round(cold.usableMs)} ms`)
  const took: Record<string, number[]> = {}
  const note = (name: string, ms: number) => (took[name] ??= []).push(ms)
  for (let round = 0; round < rounds; round++) {
    await checkRoom(ours, shape)
    const tag = await tagged(ours, mine, `bench-${shape.label}-${round}`)
    note('ours', tag.usableMs)
    note('frozen, ours', tag.frozenMs)
    note('by hand', await hand.usableMs(mine))
    note('frozen, by hand', await hand.frozenMs(mine))
    note('direct', await createImage(nova, direct, 'bench-direct'))
    if (slow && round < longRounds) {
      note('long', await createImage(nova, slow.long, 'bench-long'))
      note('upload', (await tagged(slow.uploading, slow.sent, `bench-upload-${round}`)).usableMs)
    }
    const latest = Object.entries(took).filter(([, values]) => values.length > round)
    say(`  ${latest.map(([name, values]) => `${name} ${Math.round(values.at(-1) ?? NaN)}`).join(', ')}; load ${load()}`)
  }
  for (const [name, values] of Object.entries(took)) say(`  ${name.padEnd(16)} ${show(spreadOf(values), 'ms')}`)
  const median = (name: string) => spreadOf(took[name] ?? [NaN]).p50
  const ratio = (a: string, b: string) => (median(a) / median(b)).toFixed(2)
  say(`  ours / by hand ${ratio('ours', 'by hand')}; frozen ${ratio('frozen, ours', 'frozen, by hand')}`)
  say(`  Nova's direct / ours ${ratio('direct', 'ours')}`)
  if (slow) say(`  Nova's long way / our upload ${ratio('long', 'upload')}`)
  await ours.servers.delete(mine)
  await nova.servers.delete(direct)
  if (!slow) return
  await nova.servers.delete(slow.long)
  await slow.uploading.servers.delete(slow.sent)
}

/** From the request to the active image; the run is waited for as well, and the image deleted. */
async function tagged(story: Story, server: string, name: string): Promise<{ usableMs: number; frozenMs: number }> {
  const startedMs = performance.now()
  await story.servers.setTag(server, `snapshot:${name}`)
  const image = await story.images.untilNamedActive(name, 600_000, lookEveryMs)
  const usableMs = performance.now() - startedMs
  await story.engine.untilEnded(image.id, 600_000)
  const { rbdsnap_frozen_ms: frozen } = await story.images.show(image.id)
  await story.images.delete(image.id)
  return { usableMs, frozenMs: Number(frozen ?? NaN) }
}

async function createImage(story: Story, server: string, name: string): Promise<number> {
  const startedMs = performance.now()
  const image = await story.servers.createImage(server, name)
  await story.images.untilActive(image, 900_000, lookEveryMs)
  const tookMs = performance.now() - startedMs
  await story.servers.untilIdle(server, 300_000)
  await story.images.delete(image)
  return tookMs
}

/** Wishes of many servers at one instant. The servers are off: guests under emulation would be measured, not snapshots. */
async function together(story: Story, count: number): Promise<void> {
  const { lab, tenant } = story
  // Nova's own are 10 instances
  const quota = { quota_set: { instances: -1, cores: -1, ram: -1 } }
  await signIn(lab, lab.people.admin).must('PUT', `${lab.nova}/os-quota-sets/${tenant.projectId}`, { body: quota })
  const servers: string[] = []
  for (let i = 0; i < count; i++) {
    const server = await story.boot(`bench-together-${i}`, lab.images.plain)
    await story.servers.act(server, { 'os-stop': null })
    servers.push(server)
  }
  for (const server of servers) await story.servers.untilStatus(server, 'SHUTOFF')
  // The first wave meets functions of which most have not been called yet.
  await wave(story, servers, 'cold')
  await wave(story, servers, 'warm')
  for (const server of servers) await story.servers.delete(server)
}

async function wave(story: Story, servers: string[], label: string): Promise<void> {
  const startedMs = performance.now()
  const took = await Promise.all(
    servers.map(async (server, i) => {
      const name = `bench-together-${label}-${i}`
      await story.servers.setTag(server, `snapshot:${name}`)
      const image = await story.images.untilNamedActive(name, 600_000, 16 * lookEveryMs)
      return { image: image.id, ms: performance.now() - startedMs }
    }),
  )
  say(`${servers.length} wishes at once, ${label}`)
  say(`  usable ${show(spreadOf(took.map(({ ms }) => ms)), 'ms')}`)
  for (const { image } of took) await story.engine.untilEnded(image, 600_000)
  say(`  all flattened and cleaned up after ${Math.round(performance.now() - startedMs)} ms`)
  for (const { image } of took) await story.images.delete(image)
}

/** Flattens of several images that become due at once: how long they take, and a wish that is made meanwhile. */
async function flattens(settings: Record<string, string>, label: string): Promise<void> {
  const story = await openStory({ settings })
  try {
    const servers: string[] = []
    for (let i = 0; i < 4; i++) servers.push(await bootWithData(story, flattened, 'clone'))
    const startedMs = performance.now()
    const images = await Promise.all(
      servers.map(async (server, i) => {
        await story.servers.setTag(server, `snapshot:bench-flatten-${i}`)
        return story.images.untilNamedActive(`bench-flatten-${i}`, 600_000)
      }),
    )
    const between = await tagged(story, servers[0] ?? '', 'bench-flatten-between')
    for (const { id } of images) await story.engine.untilEnded(id, 900_000)
    const tookMs = Math.round(performance.now() - startedMs)
    say(
      `  ${label}: 4 images flat after ${tookMs} ms; a wish meanwhile usable after ${Math.round(between.usableMs)} ms`,
    )
  } finally {
    await story.close()
  }
}

const flattened: DiskShape = { label: 'flatten', flavor: 'lab.1', dataBytes: 0.5 * gibibyte }

await main()
