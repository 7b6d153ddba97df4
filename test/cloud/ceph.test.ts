import { mkdtempSync, rmSync, statSync, readdirSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type Cluster, openCluster, RbdError } from '../../infra/cloud/cluster.ts'

const gib = 2 ** 30
const mib = 2 ** 20
const home = mkdtempSync(join(tmpdir(), 'ceph-'))
const open: Cluster[] = []
let made = 0

function cluster(dir: string, more: { cloneFormat?: 1 | 2; paxosProposeIntervalMs?: number } = {}): Cluster {
  const { cloneFormat = 1, paxosProposeIntervalMs = 0 } = more
  const dataDir = join(home, dir)
  const opened = openCluster({ dataDir, fsid: dir, pools: ['vms', 'images'], paxosProposeIntervalMs, cloneFormat })
  open.push(opened)
  return opened
}

function refusal(work: () => unknown): { errno: number; component: string } | null {
  try {
    work()
    return null
  } catch (error) {
    if (!(error instanceof RbdError)) throw error
    return { errno: error.errno, component: error.component }
  }
}
const errno = (work: () => unknown) => refusal(work)?.errno

async function errnoOf(work: Promise<unknown>): Promise<number | undefined> {
  return work.then(
    () => undefined,
    (error: unknown) => (error as RbdError).errno,
  )
}

/** A disk with a few recognisable bytes on it. */
function disk(on: Cluster, features?: string[]): string {
  const name = `disk-${(made += 1)}`
  on.create('vms', name, 10 * gib, features)
  for (const at of [0, 3 * mib + 17, 5 * gib]) on.write('vms', name, at, Buffer.from(`${name} at ${at}`))
  return name
}

/** A disk, its protected snapshot `s`, and a clone of that. */
async function cloned(on: Cluster, features?: string[]): Promise<{ name: string; child: string }> {
  const name = disk(on)
  const child = `${name}-child`
  await on.snapCreate('vms', name, 's')
  on.snapProtect('vms', name, 's')
  on.clone({ pool: 'vms', image: name, snap: 's' }, { pool: 'images', image: child }, features)
  return { name, child }
}

function text(on: Cluster, pool: string, image: string, snap: string | null, offset: number, length: number): string {
  return Buffer.from(on.read(pool, image, snap, offset, length)).toString()
}

let v1: Cluster
let v2: Cluster
beforeAll(() => {
  v1 = cluster('v1')
  v2 = cluster('v2', { cloneFormat: 2 })
})
afterAll(() => {
  for (const each of open) each.close()
  rmSync(home, { recursive: true })
})

describe('bytes', () => {
  it('a 100 GiB image takes no room until it is written to', () => {
    const big = cluster('big')
    big.create('vms', 'a', 100 * gib)
    big.write('vms', 'a', 99 * gib, Buffer.from('end'))
    const [file = ''] = readdirSync(join(home, 'big', 'images'))
    expect(statSync(join(home, 'big', 'images', file)).size).toBeLessThan(mib)
    expect(text(big, 'vms', 'a', null, 99 * gib - 1, 4)).toBe('\0end')
  })

  it('a snapshot keeps the bytes of its instant, and each snapshot its own', async () => {
    const name = disk(v1)
    for (const snap of ['one', 'two', 'three']) {
      v1.write('vms', name, 100, Buffer.from(snap))
      await v1.snapCreate('vms', name, snap)
    }
    v1.write('vms', name, 100, Buffer.from('now'))
    await v1.snapRemove('vms', name, 'two')
    expect([null, 'one', 'three'].map((snap) => text(v1, 'vms', name, snap, 100, 3))).toEqual(['now', 'one', 'thr'])
  })

  it('room that a removed snapshot held is used again', async () => {
    const name = disk(v1)
    const size = () =>
      Math.max(
        ...readdirSync(join(home, 'v1', 'images')).map((file) => statSync(join(home, 'v1', 'images', file)).size),
      )
    for (let round = 0; round < 20; round += 1) {
      await v1.snapCreate('vms', name, 's')
      v1.write('vms', name, 0, Buffer.alloc(mib, round))
      await v1.snapRemove('vms', name, 's')
    }
    expect(size()).toBeLessThan(6 * mib)
  })

  it('a clone reads through its parent, and its own writes stay its own', async () => {
    const { name, child } = await cloned(v1)
    expect(v1.fingerprint('images', child, null)).toBe(v1.fingerprint('vms', name, 's'))
    v1.write('images', child, 3 * mib + 17, Buffer.from('mine'))
    v1.write('vms', name, 0, Buffer.from('later'))
    expect(text(v1, 'images', child, null, 3 * mib + 17, 10)).toBe(`mine${`${name} at `.slice(4, 10)}`)
    expect(text(v1, 'images', child, null, 0, name.length)).toBe(name)
  })

  it('a hole and written zeros have one fingerprint', () => {
    const [a, b] = [disk(v1), disk(v1)]
    v1.write('vms', a, 0, v1.read('vms', b, null, 0, 4 * mib))
    v1.write('vms', a, 5 * gib, v1.read('vms', b, null, 5 * gib, mib))
    v1.write('vms', a, 7 * gib, Buffer.alloc(mib))
    expect(v1.fingerprint('vms', a, null)).toBe(v1.fingerprint('vms', b, null))
    expect(v1.allocated('vms', a, null).at(-1)).toEqual({ offset: 7 * gib, length: mib })
  })

  it('flatten gives the clone every byte of its own, and its snapshots too (deep-flatten)', async () => {
    const { name, child } = await cloned(v1)
    const before = v1.fingerprint('images', child, null)
    await v1.snapCreate('images', child, 'snap')
    v1.write('images', child, 0, Buffer.from('after'))
    await v1.flatten('images', child)
    v1.snapUnprotect('vms', name, 's')
    await v1.snapRemove('vms', name, 's')
    v1.remove('vms', name)
    expect(v1.info('images', child).parent).toBeNull()
    expect(v1.fingerprint('images', child, 'snap')).toBe(before)
    expect(text(v1, 'images', child, null, 0, 5)).toBe('after')
  })

  it('without deep-flatten the snapshot of a flattened clone still hangs on the disk', async () => {
    const { name, child } = await cloned(v1, ['layering'])
    await v1.snapCreate('images', child, 'snap')
    await v1.flatten('images', child)
    expect(v1.info('vms', name).snaps[0]?.children).toEqual([{ pool: 'images', image: child }])
    expect(errno(() => v1.snapUnprotect('vms', name, 's'))).toBe(16)
    await v1.snapRemove('images', child, 'snap')
    expect(errno(() => v1.snapUnprotect('vms', name, 's'))).toBeUndefined()
  })

  it('a flatten that is cut short keeps the parent, and the next one ends it; with an object map it leaves out what was begun', async () => {
    for (const [features, isWhole] of [
      [['layering', 'exclusive-lock', 'deep-flatten'], true],
      [['layering', 'exclusive-lock', 'object-map', 'deep-flatten'], false],
    ] as const) {
      const { name } = await cloned(v1)
      const child = `${name}-again`
      v1.clone({ pool: 'vms', image: name, snap: 's' }, { pool: 'images', image: child }, features)
      const cut = v1.flatten('images', child, (done) => {
        if (done === 2) throw new RbdError(108, 'killed')
      })
      expect(await errnoOf(cut)).toBe(108)
      expect(v1.info('images', child).parent).toMatchObject({ pool: 'vms', image: name, snap: 's' })
      await v1.flatten('images', child)
      expect(v1.fingerprint('images', child, null) === v1.fingerprint('vms', name, 's')).toBe(isWhole)
      expect(await errnoOf(v1.flatten('images', child))).toBe(22)
    }
  })

  it('a copy is whole and stands alone; cut short it has the right size and a part of the data', async () => {
    const { name } = await cloned(v1)
    await v1.copy({ pool: 'vms', image: name, snap: 's' }, { pool: 'images', image: `${name}-copy` })
    expect(v1.fingerprint('images', `${name}-copy`, null)).toBe(v1.fingerprint('vms', name, 's'))
    expect(v1.info('images', `${name}-copy`).parent).toBeNull()
    const cut = v1.copy({ pool: 'vms', image: name, snap: 's' }, { pool: 'images', image: `${name}-part` }, () => {
      throw new RbdError(108, 'killed')
    })
    expect(await errnoOf(cut)).toBe(108)
    expect(v1.info('images', `${name}-part`).sizeBytes).toBe(10 * gib)
    expect(v1.fingerprint('images', `${name}-part`, null)).not.toBe(v1.fingerprint('vms', name, 's'))
  })

  it('everything is there again after it was opened anew', async () => {
    const first = cluster('again')
    const { name, child } = await cloned(first)
    first.addWatcher('vms', name)
    const cut = first.flatten('images', child, () => {
      throw new RbdError(108, 'killed')
    })
    await errnoOf(cut)
    const before = [first.info('vms', name), first.info('images', child), first.fingerprint('images', child, null)]
    first.close()
    open.splice(open.indexOf(first), 1)
    const second = cluster('again')
    const after = [second.info('vms', name), second.info('images', child), second.fingerprint('images', child, null)]
    expect(after).toEqual(before)
  })
})

describe('monitor rounds', () => {
  it('sixteen snapshots cost one round, and two in turn cost a round each', async () => {
    const slow = cluster('slow', { paxosProposeIntervalMs: 200 })
    const names = Array.from({ length: 16 }, () => disk(slow))
    await slow.snapCreate('vms', disk(slow), 's')
    const begin = performance.now()
    await Promise.all(names.map((name) => slow.snapCreate('vms', name, 's')))
    expect(performance.now() - begin).toBeLessThan(390)
    await slow.snapRemove('vms', names[0] ?? '', 's')
    expect(performance.now() - begin).toBeGreaterThan(350)
  })

  it("a snapshot's content is that of the end of its round", async () => {
    const slow = cluster('instant', { paxosProposeIntervalMs: 100 })
    const name = disk(slow)
    const taken = slow.snapCreate('vms', name, 's')
    slow.write('vms', name, 0, Buffer.from('meanwhile'))
    await taken
    expect(text(slow, 'vms', name, 's', 0, 9)).toBe('meanwhile')
  })
})

describe('what librbd refuses', () => {
  it('a missing pool is 2 of the pool, a missing image 2 of rbd', () => {
    expect(refusal(() => v1.info('nopool', 'a'))).toEqual({ errno: 2, component: 'pool' })
    expect(refusal(() => v1.info('vms', 'nope'))).toEqual({ errno: 2, component: 'rbd' })
  })

  it('a taken name is 17: snapshot, clone, copy, rename', async () => {
    const { name, child } = await cloned(v1)
    const source = { pool: 'vms', image: name, snap: 's' }
    expect(await errnoOf(v1.snapCreate('vms', name, 's'))).toBe(17)
    expect(errno(() => v1.clone(source, { pool: 'images', image: child }))).toBe(17)
    expect(await errnoOf(v1.copy(source, { pool: 'images', image: child }))).toBe(17)
    expect(errno(() => v1.rename('vms', name, disk(v1)))).toBe(17)
  })

  it('format 1 clones protected snapshots only, and neither lets go of a snapshot with a child', async () => {
    const name = disk(v1)
    await v1.snapCreate('vms', name, 's')
    expect(errno(() => v1.clone({ pool: 'vms', image: name, snap: 's' }, { pool: 'images', image: 'x' }))).toBe(22)
    const held = await cloned(v1)
    expect(errno(() => v1.snapUnprotect('vms', held.name, 's'))).toBe(16)
    expect(await errnoOf(v1.snapRemove('vms', held.name, 's'))).toBe(16)
    expect(errno(() => v1.remove('vms', held.name))).toBe(39)
  })

  it('format 2 sends a snapshot with a child to the trash namespace, and it goes with its last child', async () => {
    const { name, child } = await cloned(v2)
    v2.snapUnprotect('vms', name, 's')
    await v2.snapRemove('vms', name, 's')
    expect(v2.info('vms', name)).toMatchObject({ snaps: [], trashedSnaps: [{ children: [{ image: child }] }] })
    expect(v2.info('images', child).parent?.snap).toMatch(/^[0-9a-f-]{36}$/)
    expect(v2.info('images', child).features).toContain('operations')
    expect(errno(() => v2.remove('vms', name))).toBe(39)
    await v2.flatten('images', child)
    expect(v2.info('vms', name).trashedSnaps).toEqual([])
    expect(errno(() => v2.remove('vms', name))).toBeUndefined()
  })

  it('without layering an image is neither protected nor cloned (38)', async () => {
    for (const each of [v1, v2]) {
      const name = disk(each, ['exclusive-lock'])
      await each.snapCreate('vms', name, 's')
      expect(errno(() => each.snapProtect('vms', name, 's'))).toBe(38)
      expect(errno(() => each.clone({ pool: 'vms', image: name, snap: 's' }, { pool: 'images', image: name }))).toBe(38)
    }
  })

  it('an image in use is not removed, and while it is flattened it is in use', async () => {
    const name = disk(v1)
    v1.addWatcher('vms', name)
    v1.addWatcher('vms', name)
    expect(errno(() => v1.remove('vms', name))).toBe(16)
    v1.removeWatcher('vms', name)
    v1.remove('vms', name)
    const { child } = await cloned(v1)
    let during: number | undefined
    await v1.flatten('images', child, () => {
      during = errno(() => v1.remove('images', child))
    })
    expect(during).toBe(16)
    v1.remove('images', child)
  })
})

describe('half made clones', () => {
  it.each(['unopenable', 'no-parent', 'unknown-child'] as const)('%s holds the name', async (form) => {
    const { name } = await cloned(v1)
    const source = { pool: 'vms', image: name, snap: 's' }
    const child = { pool: 'images', image: `${name}-${form}` }
    v1.clone(source, child, undefined, form)
    expect(errno(() => v1.clone(source, child))).toBe(17)
    expect(v1.images('images')).toContain(child.image)
    expect(v1.info('vms', name).snaps[0]?.children).not.toContainEqual(child)
    if (form === 'unopenable') expect(errno(() => v1.info('images', child.image))).toBe(2)
    else expect(v1.info('images', child.image).sizeBytes).toBe(10 * gib)
    if (form === 'no-parent') expect(v1.allocated('images', child.image, null)).toEqual([])
    if (form === 'unknown-child') expect(v1.info('images', child.image).parent?.snap).toBe('s')
    v1.trash.move('images', child.image)
    v1.clone(source, child)
    expect(v1.fingerprint('images', child.image, null)).toBe(v1.fingerprint('vms', name, 's'))
  })

  it('a child that its parent does not know no longer opens once the snapshot is gone', async () => {
    const name = disk(v1)
    await v1.snapCreate('vms', name, 's')
    v1.snapProtect('vms', name, 's')
    v1.clone({ pool: 'vms', image: name, snap: 's' }, { pool: 'images', image: name }, undefined, 'unknown-child')
    v1.snapUnprotect('vms', name, 's')
    await v1.snapRemove('vms', name, 's')
    expect(errno(() => v1.info('images', name))).toBe(2)
  })
})

describe('trash', () => {
  it('takes an image with children and in use, keeps it as long as told, and gives it back', async () => {
    const { name, child } = await cloned(v1)
    v1.addWatcher('vms', name)
    v1.trash.move('vms', name, 60_000)
    const { id } = v1.trash.list('vms').find((entry) => entry.name === name) ?? { id: '' }
    expect(v1.info('images', child).parent).toMatchObject({ image: name, isInTrash: true })
    expect(errno(() => v1.trash.remove('vms', id))).toBe(1)
    expect(errno(() => v1.trash.remove('vms', id, true))).toBe(39)
    expect(errno(() => v1.trash.remove('vms', 'nope'))).toBe(2)
    v1.trash.restore('vms', id, `${name}-back`)
    expect(v1.info('vms', `${name}-back`).snaps).toHaveLength(1)
  })
})
