import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { RbdImage, RbdSnap, Volumes } from '../../shared/ports/volumes.ts'
import { codeOf, expectFailure, inTheEnd, patient, untilDone } from './outcome.ts'

export type HalfMadeForm = 'no-parent' | 'unknown-child' | 'unopenable'

/** A cluster with something in it, and hands that are not the adapter's to change and to look at it. */
export interface VolumesWorld {
  volumes: Volumes
  pools: { disks: string; images: string }
  fsid: string
  /** a disk with some data on it, as a running guest has */
  makeDisk(options?: { hasLayering?: boolean }): Promise<RbdImage>
  /** changes some of the disk's data */
  write(image: RbdImage): Promise<void>
  /** a digest of all the bytes */
  fingerprint(thing: RbdImage | RbdSnap): Promise<string>
  /** the names in a pool, also of what does not open */
  names(pool: string): Promise<string[]>
  snaps(image: RbdImage): Promise<{ name: string; isProtected: boolean }[]>
  parentOf(image: RbdImage): Promise<RbdSnap | null>
  /** somebody else's work, whole */
  snapshot(snap: RbdSnap, isProtected?: boolean): Promise<void>
  clone(source: RbdSnap, child: RbdImage): Promise<void>
  flatten(image: RbdImage): Promise<void>
  /** what is left of a clone whose client was killed */
  leaveHalfMade(source: RbdSnap, child: RbdImage, form: HalfMadeForm): Promise<void>
  /** a client that has the image open */
  hold(image: RbdImage): Promise<{ release: () => Promise<void> }>
  close(): Promise<void>

  /** where the gateway shows what is in the trash: puts a clone there, which may be taken out again and reads from its parent still */
  trash?: (image: RbdImage) => Promise<void>
  /** where the gateway shows it: removes a snapshot that is not protected, below its clone (clone format 2) */
  removeBelowClone?: (snap: RbdSnap) => Promise<void>
  /** The next call of this kind is cut off, before or after it took effect. */
  cutOff?: (what: 'snapshot' | 'protect' | 'clone' | 'flatten' | 'remove', when: 'before' | 'after') => void
  /** The next call is never answered, until it is called off. */
  hang?: () => { callOff: () => void }
  /** Each object of a flatten or copy takes that long; 0 for as fast as can be. */
  slowDown?: (operation: 'flatten' | 'copy', perObjectMs: number) => void
  /** What works for the gateway dies, and what it was doing with it; another takes over, or the adapter has to begin again. */
  killGateway?: () => Promise<void>
  /** A flatten does not die with what works for the gateway. */
  keepsFlattens?: true
  /** Another takes over what works for the gateway, in order. */
  failOver?: () => Promise<void>
  /** an adapter that was told of the manager on standby first */
  atStandby?: () => Volumes
  /** In the middle of the clone that comes next, what works for the gateway dies and leaves this. */
  killInClone?: (form: HalfMadeForm) => void
  /** The pool of the images takes no more, and the gateway can tell. */
  fillUp?: () => Promise<{ release: () => Promise<void> }>
  /** Whatever token is in use is no longer taken. */
  voidTokens?: () => void | Promise<void>
  /** an adapter whose password is wrong */
  withWrongPassword?: () => Volumes
  /** an adapter whose user may read and nothing else */
  withSmallRole?: () => Volumes | Promise<Volumes>
  /** an adapter that was told of places where no gateway is, and a part of one */
  unserved?: () => { volumes: Volumes; names: RegExp }
  /** an adapter whose ceph.conf is not there */
  withoutConf?: () => Volumes
  /** The next call finds all of RBD switched off in the gateway. */
  switchOff?: () => void
  /** The next look at an image meets the removal of one of its snapshots. */
  hideOnce?: () => void
  /** the image gets what makes the gateway unable to show it */
  hide?: (image: RbdImage) => Promise<void>
}

export function describeVolumes(name: string, make: () => Promise<VolumesWorld>, timeoutMs = 30_000): void {
  describe(`volumes: ${name}`, { timeout: timeoutMs }, () => {
    let world: VolumesWorld
    let volumes: Volumes
    beforeAll(async () => {
      world = await make()
      volumes = world.volumes
    }, timeoutMs)
    afterAll(() => world.close(), timeoutMs)

    const at = (image: RbdImage, snap: string): RbdSnap => ({ ...image, snap })
    const inImages = (): RbdImage => ({ pool: world.pools.images, image: randomUUID() })

    async function frozenDisk(): Promise<{ disk: RbdImage; source: RbdSnap }> {
      const disk = await world.makeDisk()
      const source = at(disk, `rbdsnap-${randomUUID()}`)
      await world.snapshot(source, true)
      return { disk, source }
    }

    async function clone(): Promise<{ disk: RbdImage; source: RbdSnap; child: RbdImage }> {
      const { disk, source } = await frozenDisk()
      const child = inImages()
      await world.clone(source, child)
      return { disk, source, child }
    }

    /** One that the adapter made: it is what the adapter flattens. */
    async function ownClone(): Promise<{ disk: RbdImage; source: RbdSnap; child: RbdImage }> {
      const { disk, source } = await frozenDisk()
      const child = inImages()
      expect(await volumes.ensureClone(source, child, patient())).toBe('verified')
      return { disk, source, child }
    }

    describe('find', () => {
      it('knows the cluster', async () => {
        expect(await volumes.fsid(patient())).toBe(world.fsid)
      })

      it('is null for what is not there', async () => {
        expect(await volumes.find(inImages(), patient())).toBeNull()
      })

      it('shows size, parent, snapshots, protection and clones', async () => {
        const { disk, source, child } = await clone()
        const state = await volumes.find(disk, patient())
        expect(state?.parent).toBeNull()
        const snap = { name: source.snap, isProtected: true, children: [child], isUsed: true }
        expect(state?.snaps).toMatchObject([snap])
        const kid = await volumes.find(child, patient())
        expect(kid?.parent).toEqual(source)
        expect(kid?.sizeBytes).toBe(state?.sizeBytes)
      })

      it('of a snapshot says that it is not used, and that it is by a clone in the trash, which is no child of it', async (test) => {
        const { disk, child } = await clone()
        await volumes.ensureSnapshot({ ...disk, snap: 'unused' }, patient())
        const unused = (await volumes.find(disk, patient()))?.snaps.find(({ name }) => name === 'unused')
        expect(unused).toMatchObject({ children: [], isUsed: false })
        if (!world.trash) return test.skip('this world has no trash')
        await world.trash(child)
        const snaps = (await volumes.find(disk, patient()))?.snaps
        expect(snaps?.find(({ name }) => name !== 'unused')).toMatchObject({ children: [], isUsed: true })
      })

      it('does not take a missing pool for a missing image', async () => {
        await expectFailure(volumes.find({ pool: 'nopool', image: 'x' }, patient()), 'BAD_SETTING', /nopool/)
      })

      it.each(['-rf', 'a/b', 'a@b', '', 'a b'])('never lets the name %j become something else', async (image) => {
        await expectFailure(volumes.find({ pool: world.pools.images, image }, patient()), 'BAD_REQUEST')
      })
    })

    describe('a snapshot', () => {
      it('is made once however often it is asked for, and keeps the content of the first time', async () => {
        const disk = await world.makeDisk()
        const snap = at(disk, 'twice')
        await volumes.ensureSnapshot(snap, patient())
        const content = await world.fingerprint(snap)
        await world.write(disk)
        await volumes.ensureSnapshot(snap, patient())
        expect(await world.snaps(disk)).toHaveLength(1)
        expect(await world.fingerprint(snap)).toBe(content)
        expect(await world.fingerprint(disk)).not.toBe(content)
      })

      it('of a disk that is not there is INSTANCE_GONE', async () => {
        await expectFailure(volumes.ensureSnapshot(at(inImages(), 's'), patient()), 'INSTANCE_GONE')
      })

      it('is protected once', async () => {
        const disk = await world.makeDisk()
        const snap = at(disk, 's')
        await volumes.ensureSnapshot(snap, patient())
        await volumes.ensureProtected(snap, patient())
        await volumes.ensureProtected(snap, patient())
        expect(await world.snaps(disk)).toEqual([{ name: 's', isProtected: true }])
      })

      it('of a disk without layering cannot be cloned: CLONE_REFUSED', async () => {
        const disk = await world.makeDisk({ hasLayering: false })
        const snap = at(disk, 's')
        await volumes.ensureSnapshot(snap, patient())
        const codes = [
          await codeOf(inTheEnd(() => volumes.ensureProtected(snap, patient()))),
          await codeOf(inTheEnd(() => volumes.ensureClone(snap, inImages(), patient()))),
        ]
        expect(codes).toEqual(['CLONE_REFUSED', 'CLONE_REFUSED'])
      })

      it('goes with its protection, and twice is once', async () => {
        const { disk, source } = await frozenDisk()
        await volumes.ensureSnapshotAbsent(source, patient())
        expect(await world.snaps(disk)).toEqual([])
        await volumes.ensureSnapshotAbsent(source, patient())
      })

      it('is absent from a disk that is not there', async () => {
        await volumes.ensureSnapshotAbsent(at(inImages(), 's'), patient())
      })

      it('with a linked clone is CEPH_BUSY and stays as it was', async () => {
        const { disk, source, child } = await clone()
        await expectFailure(volumes.ensureSnapshotAbsent(source, patient()), 'CEPH_BUSY', new RegExp(child.image))
        expect(await world.snaps(disk)).toEqual([{ name: source.snap, isProtected: true }])
        expect(await world.parentOf(child)).toEqual(source)
      })

      it('of others is left alone', async () => {
        const { disk, source } = await frozenDisk()
        await world.snapshot(at(disk, 'theirs'))
        await volumes.ensureSnapshotAbsent(source, patient())
        expect(await world.snaps(disk)).toEqual([{ name: 'theirs', isProtected: false }])
      })
    })

    describe('a clone', () => {
      it('is verified, has the bytes of its source, and twice is once', async () => {
        const { source } = await frozenDisk()
        const child = inImages()
        expect(await volumes.ensureClone(source, child, patient())).toBe('verified')
        expect(await volumes.ensureClone(source, child, patient())).toBe('verified')
        expect(await world.fingerprint(child)).toBe(await world.fingerprint(source))
      })

      it('goes on being verified after its own snapshot was made', async () => {
        const { source, child } = await clone()
        await world.snapshot(at(child, 'snap'), true)
        expect(await volumes.ensureClone(source, child, patient())).toBe('verified')
      })

      it('two at once are one', async () => {
        const { source } = await frozenDisk()
        const child = inImages()
        const both = [volumes.ensureClone(source, child, patient()), volumes.ensureClone(source, child, patient())]
        expect(await Promise.all(both)).toEqual(['verified', 'verified'])
      })

      for (const form of ['no-parent', 'unknown-child', 'unopenable'] as const) {
        it(`left half made (${form}) is said so, cleared, and made again`, async () => {
          const { source } = await frozenDisk()
          const child = inImages()
          await world.leaveHalfMade(source, child, form)
          expect(await volumes.ensureClone(source, child, patient())).toBe('half-made')
          await volumes.ensureAbsent(child, ['snap'], patient())
          expect(await world.names(child.pool)).not.toContain(child.image)
          expect(await volumes.ensureClone(source, child, patient())).toBe('verified')
          expect(await world.fingerprint(child)).toBe(await world.fingerprint(source))
        })
      }

      it('of another snapshot under the name is foreign', async () => {
        const { source } = await frozenDisk()
        const { child } = await clone()
        expect(await volumes.ensureClone(source, child, patient())).toBe('foreign')
      })

      it("that is somebody else's whole image is foreign, not half made", async () => {
        const { source } = await frozenDisk()
        const { child } = await clone()
        await world.flatten(child)
        await world.snapshot(at(child, 'snap'))
        expect(await volumes.ensureClone(source, child, patient())).toBe('foreign')
      })

      it('of a disk that is not there is INSTANCE_GONE', async () => {
        await expectFailure(volumes.ensureClone(at(inImages(), 's'), inImages(), patient()), 'INSTANCE_GONE')
      })

      it('of a snapshot that somebody removed is for a person to look at', async () => {
        const { disk } = await frozenDisk()
        await expectFailure(volumes.ensureClone(at(disk, 'gone'), inImages(), patient()), 'CEPH_REFUSED', /gone/)
      })
    })

    describe('a flatten', () => {
      it('cuts the clone from its parent, keeps the bytes, and twice is once', async () => {
        const { source, child } = await ownClone()
        const content = await world.fingerprint(child)
        await untilDone(
          () => volumes.flatten(child, patient()),
          (p) => p.is === 'done',
        )
        expect(await world.parentOf(child)).toBeNull()
        expect(await world.fingerprint(child)).toBe(content)
        expect(await volumes.flatten(child, patient())).toEqual({ is: 'done' })
        await volumes.ensureSnapshotAbsent(source, patient())
      })

      it('frees the source also when the clone had its snapshot before', async () => {
        const { disk, source, child } = await ownClone()
        await world.snapshot(at(child, 'snap'), true)
        const content = await world.fingerprint(at(child, 'snap'))
        await untilDone(
          () => volumes.flatten(child, patient()),
          (p) => p.is === 'done',
        )
        await volumes.ensureSnapshotAbsent(source, patient())
        expect(await world.snaps(disk)).toEqual([])
        expect(await world.fingerprint(at(child, 'snap'))).toBe(content)
      })

      it('of an image that was deleted is IMAGE_GONE', async () => {
        const image = inImages()
        // a command that has not ended yet is said to run
        const flattened = untilDone(
          () => volumes.flatten(image, patient()),
          (p) => p.is === 'done',
        )
        await expectFailure(flattened, 'IMAGE_GONE')
      })
    })

    describe('a copy', () => {
      const temporaryOf = (target: RbdImage): RbdImage => ({ ...target, image: `rbdsnap-${target.image}-copy` })
      const copy = (source: RbdSnap, target: RbdImage) =>
        untilDone(
          () => volumes.ensureCopy(source, temporaryOf(target), target, patient()),
          (p) => p.is === 'done',
        )

      it('is whole, stands alone, leaves nothing temporary, and twice is once', async () => {
        const { disk, source } = await frozenDisk()
        const target = inImages()
        await copy(source, target)
        await world.write(disk)
        await copy(source, target)
        expect(await world.fingerprint(target)).toBe(await world.fingerprint(source))
        expect(await world.parentOf(target)).toBeNull()
        expect(await world.names(target.pool)).not.toContain(temporaryOf(target).image)
      })

      it('does not believe what lies under the temporary name', async () => {
        const { source } = await frozenDisk()
        const target = inImages()
        await world.leaveHalfMade(source, temporaryOf(target), 'no-parent')
        await copy(source, target)
        expect(await world.fingerprint(target)).toBe(await world.fingerprint(source))
      })

      it('works without layering', async () => {
        const disk = await world.makeDisk({ hasLayering: false })
        const source = at(disk, 's')
        await volumes.ensureSnapshot(source, patient())
        const target = inImages()
        await copy(source, target)
        expect(await world.fingerprint(target)).toBe(await world.fingerprint(source))
      })

      it('is NAME_TAKEN where something else bears the name, which stays', async () => {
        const { source } = await frozenDisk()
        const { child } = await clone()
        const temporary = temporaryOf(child)
        await expectFailure(volumes.ensureCopy(source, temporary, child, patient()), 'NAME_TAKEN')
        expect(await world.names(child.pool)).toContain(child.image)
      })

      it('of a disk that is not there is INSTANCE_GONE', async () => {
        const target = inImages()
        const source = at(inImages(), 's')
        await expectFailure(copy(source, target), 'INSTANCE_GONE')
      })
    })

    it('a client that has disk or clone open is in the way of nothing but their removal', async () => {
      const disk = await world.makeDisk()
      const guest = await world.hold(disk)
      const source = at(disk, 's')
      await volumes.ensureSnapshot(source, patient())
      await volumes.ensureProtected(source, patient())
      const child = inImages()
      expect(await volumes.ensureClone(source, child, patient())).toBe('verified')
      const server = await world.hold(child)
      await untilDone(
        () => volumes.flatten(child, patient()),
        (p) => p.is === 'done',
      )
      await volumes.ensureSnapshotAbsent(source, patient())
      expect(await world.snaps(disk)).toEqual([])
      for (const image of [disk, child]) {
        await expectFailure(volumes.ensureAbsent(image, [], patient()), 'CEPH_BUSY')
        expect(await world.names(image.pool)).toContain(image.image)
      }
      await guest.release()
      await server.release()
    })

    describe('removing an image', () => {
      it('takes its own snapshots along, and twice is once', async () => {
        const { disk, child } = await clone()
        await world.snapshot(at(child, 'snap'), true)
        await volumes.ensureAbsent(child, ['snap'], patient())
        expect(await world.names(child.pool)).not.toContain(child.image)
        await volumes.ensureAbsent(child, ['snap'], patient())
        expect(await world.names(disk.pool)).toContain(disk.image)
      })

      it('leaves it alone, with all its snapshots, when one is not ours', async () => {
        const { child } = await clone()
        await world.snapshot(at(child, 'snap'))
        await world.snapshot(at(child, 'theirs'))
        const before = await world.snaps(child)
        await expectFailure(volumes.ensureAbsent(child, ['snap'], patient()), 'CEPH_BUSY', /theirs/)
        expect(await world.snaps(child)).toEqual(before)
      })

      it('leaves it alone when a clone hangs on it', async () => {
        const { child } = await clone()
        await world.snapshot(at(child, 'snap'), true)
        const theirs = inImages()
        await world.clone(at(child, 'snap'), theirs)
        await expectFailure(volumes.ensureAbsent(child, ['snap'], patient()), 'CEPH_BUSY', new RegExp(theirs.image))
        expect(await world.snaps(child)).toEqual([{ name: 'snap', isProtected: true }])
        expect(await world.parentOf(theirs)).toEqual(at(child, 'snap'))
      })

      it('leaves it there while somebody holds it open', async () => {
        const disk = await world.makeDisk()
        const { release } = await world.hold(disk)
        await expectFailure(volumes.ensureAbsent(disk, [], patient()), 'CEPH_BUSY')
        expect(await world.names(disk.pool)).toContain(disk.image)
        await release()
        await volumes.ensureAbsent(disk, [], patient())
        expect(await world.names(disk.pool)).not.toContain(disk.image)
      })
    })

    it('a caller that gave up is told TIMEOUT', async () => {
      const disk = await world.makeDisk()
      await expectFailure(volumes.find(disk, AbortSignal.abort()), 'TIMEOUT')
    })

    it('a call that is never answered ends with its caller', async (test) => {
      if (!world.hang) return test.skip('this world has no hang')
      const disk = await world.makeDisk()
      const { callOff } = world.hang()
      await expectFailure(volumes.find(disk, AbortSignal.timeout(200)), 'TIMEOUT')
      callOff()
      expect(await volumes.find(disk, patient())).not.toBeNull()
    })

    for (const when of ['before', 'after'] as const) {
      it(`answers lost ${when} the effect change nothing in what there is at the end`, async (test) => {
        if (!world.cutOff) return test.skip('this world has no cutOff')
        const disk = await world.makeDisk()
        const source = at(disk, 's')
        const child = inImages()
        const always = () => true
        world.cutOff('snapshot', when)
        await untilDone(async () => volumes.ensureSnapshot(source, patient()), always)
        const content = await world.fingerprint(source)
        world.cutOff('protect', when)
        await untilDone(async () => volumes.ensureProtected(source, patient()), always)
        world.cutOff('clone', when)
        const state = await untilDone(
          () => volumes.ensureClone(source, child, patient()),
          (s) => s !== 'running',
        )
        expect(state).toBe('verified')
        world.cutOff('flatten', when)
        await untilDone(
          () => volumes.flatten(child, patient()),
          (p) => p.is === 'done',
        )
        await volumes.ensureSnapshotAbsent(source, patient())
        expect(await world.fingerprint(child)).toBe(content)
        world.cutOff('remove', when)
        await untilDone(async () => volumes.ensureAbsent(child, [], patient()), always)
        expect(await world.names(child.pool)).not.toContain(child.image)
        expect(await world.snaps(disk)).toEqual([])
      })
    }

    it('long work is said to run, and is done in the end', async (test) => {
      if (!world.slowDown) return test.skip('this world has no slowDown')
      // a few objects: a busy machine has to ask four times before the last of them is copied
      world.slowDown('flatten', 3_000)
      world.slowDown('copy', 3_000)
      const { source, child } = await ownClone()
      const target = inImages()
      const temporary: RbdImage = { ...target, image: `rbdsnap-${target.image}-copy` }
      expect(await volumes.ensureCopy(source, temporary, target, patient())).toMatchObject({ is: 'running' })
      expect(await volumes.flatten(child, patient())).toMatchObject({ is: 'running' })
      expect(await volumes.flatten(child, patient())).toMatchObject({ is: 'running' })
      expect(await volumes.ensureCopy(source, temporary, target, patient())).toMatchObject({ is: 'running' })
      expect(await world.names(target.pool)).not.toContain(target.image)
      world.slowDown('flatten', 0)
      world.slowDown('copy', 0)
      await untilDone(
        () => volumes.flatten(child, patient()),
        (p) => p.is === 'done',
      )
      await untilDone(
        () => volumes.ensureCopy(source, temporary, target, patient()),
        (p) => p.is === 'done',
      )
      const content = await world.fingerprint(source)
      expect(await world.fingerprint(child)).toBe(content)
      expect(await world.fingerprint(target)).toBe(content)
    })

    it('what is being flattened can be removed, at the latest when it is done', async (test) => {
      if (!world.slowDown) return test.skip('this world has no slowDown')
      world.slowDown('flatten', 150)
      const { disk, source, child } = await ownClone()
      expect(await volumes.flatten(child, patient())).toMatchObject({ is: 'running' })
      // once a second: asked twenty times as often, a manager (16.2, on a busy machine) was still at it after four minutes
      await untilDone(
        () => volumes.ensureAbsent(child, [], patient()),
        () => true,
        1_000,
      )
      world.slowDown('flatten', 0)
      expect(await world.names(child.pool)).not.toContain(child.image)
      await volumes.ensureSnapshotAbsent(source, patient())
      expect(await world.snaps(disk)).toEqual([])
    })

    it('a flatten goes on when its gateway died, without being asked for again', async (test) => {
      if (!world.keepsFlattens || !world.killGateway || !world.slowDown)
        return test.skip('this world has no keepsFlattens, killGateway or slowDown')
      world.slowDown('flatten', 500)
      const { source, child } = await ownClone()
      expect(await volumes.flatten(child, patient())).toMatchObject({ is: 'running' })
      await world.killGateway()
      world.slowDown('flatten', 0)
      const isCut = async () => (await volumes.find(child, patient()))?.parent === null
      await untilDone(isCut, Boolean)
      expect(await volumes.flatten(child, patient())).toEqual({ is: 'done' })
      expect(await world.fingerprint(child)).toBe(await world.fingerprint(source))
    })

    it('work that died with its gateway is begun again', async (test) => {
      if (!world.killGateway || !world.slowDown) return test.skip('this world has no killGateway or slowDown')
      world.slowDown('flatten', 500)
      world.slowDown('copy', 500)
      const { source, child } = await ownClone()
      const target = inImages()
      const temporary: RbdImage = { ...target, image: `rbdsnap-${target.image}-copy` }
      expect(await volumes.ensureCopy(source, temporary, target, patient())).toMatchObject({ is: 'running' })
      expect(await volumes.flatten(child, patient())).toMatchObject({ is: 'running' })
      await world.killGateway()
      world.slowDown('flatten', 0)
      world.slowDown('copy', 0)
      if (!world.keepsFlattens) expect(await world.parentOf(child)).toEqual(source)
      await untilDone(
        () => volumes.flatten(child, patient()),
        (p) => p.is === 'done',
      )
      await untilDone(
        () => volumes.ensureCopy(source, temporary, target, patient()),
        (p) => p.is === 'done',
      )
      const content = await world.fingerprint(source)
      expect(await world.fingerprint(child)).toBe(content)
      expect(await world.fingerprint(target)).toBe(content)
      expect(await world.names(temporary.pool)).not.toContain(temporary.image)
    })

    for (const form of ['no-parent', 'unknown-child', 'unopenable'] as const) {
      it(`a clone whose manager dies in it (${form}) is never believed`, async (test) => {
        if (!world.killInClone) return test.skip('this world has no killInClone')
        const { source } = await frozenDisk()
        const child = inImages()
        world.killInClone(form)
        const seen = new Set<string>()
        await untilDone(
          async () => {
            const state = await volumes.ensureClone(source, child, patient())
            seen.add(state)
            if (state === 'half-made') await volumes.ensureAbsent(child, [], patient())
            return state
          },
          (state) => state === 'verified',
        )
        expect(seen).toEqual(new Set(['half-made', 'verified']))
        expect(await world.fingerprint(child)).toBe(await world.fingerprint(source))
      })
    }

    itTellsAFullPool(() => world)

    it('more callers than the gateway takes at once wait for their turn, or leave', async () => {
      const disk = await world.makeDisk()
      const leaving = Array.from({ length: 12 }, (_, ms) => codeOf(volumes.find(disk, AbortSignal.timeout(ms))))
      for (const code of await Promise.all(leaving)) expect(['ok', 'TIMEOUT']).toContain(code)
      const staying = Array.from({ length: 12 }, () => volumes.find(disk, patient()))
      expect(await Promise.all(staying)).not.toContain(null)
    })

    it('a manager on standby names the active one', async (test) => {
      if (!world.atStandby) return test.skip('this world has no atStandby')
      const disk = await world.makeDisk()
      const snap = at(disk, 's')
      await world.atStandby().ensureSnapshot(snap, patient())
      expect(await world.snaps(disk)).toHaveLength(1)
    })

    it('another manager takes over, and nobody notices', async (test) => {
      if (!world.failOver) return test.skip('this world has no failOver')
      const { disk } = await frozenDisk()
      for (const snap of ['during', 'after']) {
        const work = volumes.ensureSnapshot(at(disk, snap), patient()).catch(() => undefined)
        await world.failOver()
        await work
        await untilDone(
          async () => volumes.ensureSnapshot(at(disk, snap), patient()),
          () => true,
        )
      }
      expect((await world.snaps(disk)).map((snap) => snap.name)).toEqual(expect.arrayContaining(['during', 'after']))
    })

    it('a token that is no longer taken is renewed', async (test) => {
      if (!world.voidTokens) return test.skip('this world has no voidTokens')
      const disk = await world.makeDisk()
      // tokens have whole seconds
      await new Promise((resolve) => setTimeout(resolve, 1_100))
      await world.voidTokens()
      const all = Array.from({ length: 12 }, () => volumes.find(disk, patient()))
      expect(await Promise.all(all)).toHaveLength(12)
    })

    it('a refused password is not tried again and again: ten wrong ones lock the user', async (test) => {
      if (!world.withWrongPassword || !world.voidTokens)
        return test.skip('this world has no withWrongPassword or voidTokens')
      const disk = await world.makeDisk()
      const wrong = world.withWrongPassword()
      const together = Array.from({ length: 12 }, () => codeOf(wrong.find(disk, patient())))
      expect(new Set(await Promise.all(together))).toEqual(new Set(['CEPH_REFUSED']))
      for (let tries = 0; tries < 12; tries += 1) await expectFailure(wrong.find(disk, patient()), 'CEPH_REFUSED')
      await new Promise((resolve) => setTimeout(resolve, 1_100))
      await world.voidTokens()
      expect(await volumes.find(disk, patient())).not.toBeNull()
    })

    it('a role that is too small is said so, and nothing changes', async (test) => {
      if (!world.withSmallRole) return test.skip('this world has no withSmallRole')
      const small = await world.withSmallRole()
      const disk = await world.makeDisk()
      expect(await small.find(disk, patient())).not.toBeNull()
      await expectFailure(small.ensureSnapshot(at(disk, 's'), patient()), 'CEPH_REFUSED', /may not|not permitted/)
      expect(await world.snaps(disk)).toEqual([])
    })

    it('no gateway where one should be is CEPH_UNREACHABLE, with each place that was asked', async (test) => {
      if (!world.unserved) return test.skip('this world has no unserved')
      const { volumes: lost, names } = world.unserved()
      await expectFailure(lost.find(inImages(), patient()), 'CEPH_UNREACHABLE', names)
    })

    it('a ceph.conf that is not there is BAD_SETTING, and no missing image', async (test) => {
      if (!world.withoutConf) return test.skip('this world has no withoutConf')
      await expectFailure(world.withoutConf().find(inImages(), patient()), 'BAD_SETTING', /unable to open config file/)
    })

    it('a gateway that shows no image at all is not taken for an empty cluster', async (test) => {
      if (!world.switchOff) return test.skip('this world has no switchOff')
      const disk = await world.makeDisk()
      await volumes.find(disk, patient())
      world.switchOff()
      await expectFailure(volumes.find(disk, patient()), 'CEPH_REFUSED', /disabled/)
    })

    it('what it could not show because a snapshot of it was just being removed is shown all the same', async (test) => {
      if (!world.hideOnce) return test.skip('this world has no hideOnce')
      const disk = await world.makeDisk()
      await volumes.find(disk, patient())
      world.hideOnce()
      expect(await volumes.find(disk, patient())).not.toBeNull()
    })

    it('what the gateway cannot show is neither absent nor removed', async (test) => {
      if (!world.hide) return test.skip('this world has no hide')
      const disk = await world.makeDisk()
      await world.hide(disk)
      await expectFailure(volumes.find(disk, patient()), 'CEPH_BUSY')
      await expectFailure(volumes.ensureAbsent(disk, [], patient()), 'CEPH_BUSY')
      await expectFailure(volumes.ensureSnapshotAbsent(at(disk, 's'), patient()), 'CEPH_BUSY')
      expect(await world.names(disk.pool)).toContain(disk.image)
    })
  })
}

export function itTellsAFullPool(of: () => VolumesWorld): void {
  it('a clone into a full pool is POOL_FULL and is not begun: Ceph would let it wait for room', async (test) => {
    const { volumes, fillUp, ...world } = of()
    if (!fillUp) return test.skip('this gateway cannot tell how full a pool is')
    const source = { ...(await world.makeDisk()), snap: `rbdsnap-${randomUUID()}` }
    await world.snapshot(source, true)
    const child = { pool: world.pools.images, image: randomUUID() }
    const { release } = await fillUp()
    try {
      await expectFailure(volumes.ensureClone(source, child, patient()), 'POOL_FULL', /full/)
    } finally {
      await release()
    }
    expect(await world.names(child.pool)).not.toContain(child.image)
    expect(await volumes.ensureClone(source, child, patient())).toBe('verified')
  })
}

export function itTellsOfASnapshotBelowItsClone(of: () => Promise<VolumesWorld>): void {
  it('a snapshot that was removed below its clone is not listed, and told of as long as the clone is there', async () => {
    const { volumes, removeBelowClone, ...world } = await of()
    if (!removeBelowClone) throw new Error('this world cannot remove a snapshot below its clone')
    const disk = await world.makeDisk()
    const source = { ...disk, snap: 'somebodys' }
    const child = { pool: world.pools.images, image: randomUUID() }
    await world.snapshot(source)
    await world.clone(source, child)
    expect(await volumes.find(disk, patient())).toMatchObject({
      snaps: [{ name: source.snap }],
      hasUnlistedSnaps: false,
    })
    await removeBelowClone(source)
    expect(await volumes.find(disk, patient())).toMatchObject({ snaps: [], hasUnlistedSnaps: true })
    await world.flatten(child)
    expect(await volumes.find(disk, patient())).toMatchObject({ snaps: [], hasUnlistedSnaps: false })
    await world.close()
  })
}
