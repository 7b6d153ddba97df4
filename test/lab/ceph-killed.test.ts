import { spawn } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { readLab } from '../../infra/lab/lab.ts'
import { rbdVolumes } from '../../shared/adapters/rbd.ts'
import type { RbdImage } from '../../shared/ports/volumes.ts'
import { expectFailure, patient, untilDone } from '../contract/outcome.ts'
import { type CephLab, hands, openCephLab } from './lab-ceph.ts'

const lab = readLab()
const withinMs = 300_000

describe('the real command rbd', { timeout: withinMs }, () => {
  let given: CephLab
  beforeAll(async () => {
    given = await openCephLab(lab, 2)
  }, withinMs)
  afterAll(() => given.close(), withinMs)

  it('without a key is CEPH_REFUSED, and no missing image', async () => {
    const volumes = rbdVolumes({ command: ['rbd'], conf: given.conf, user: 'rbdsnap-nobody' })
    await expectFailure(volumes.find({ pool: given.pools.disks, image: 'x' }, patient()), 'CEPH_REFUSED')
  })

  it('killed at any moment of a clone leaves nothing that is believed and is less than whole', async () => {
    const own = hands(given)
    const volumes = rbdVolumes({ command: ['rbd'], conf: given.conf, user: given.user })
    const source = { ...(await own.makeDisk()), snap: 's' }
    await own.snapshot(source, true)
    const content = await own.fingerprint(source)
    const spec = (thing: { pool: string; image: string }) => `${thing.pool}/${thing.image}`
    const children: RbdImage[] = []
    for (let afterMs = 30; afterMs <= 170; afterMs += 10) {
      const child = { pool: given.pools.images, image: randomUUID() }
      const clone = spawn('rbd', ['--conf', lab.ceph.conf, 'clone', `${spec(source)}@s`, spec(child)], {
        stdio: 'ignore',
      })
      await sleep(afterMs)
      clone.kill('SIGKILL')
      await once(clone, 'close')
      children.push(child)
    }
    // All at once: what a dead client held is let go after half a minute (osd_client_watch_timeout), for each of them.
    const verdicts = await Promise.all(children.map((child) => volumes.ensureClone(source, child, patient())))
    for (const [nth, verdict] of verdicts.entries()) {
      if (verdict === 'half-made') continue
      expect(verdict).toBe('verified')
      expect(await own.fingerprint(children[nth]!)).toBe(content)
    }
    expect(verdicts).toContain('verified')
  })

  it('killed in the middle of a flatten loses nothing when it is begun again', async () => {
    const own = hands(given)
    const volumes = rbdVolumes({ command: ['rbd'], conf: given.conf, user: given.user })
    own.slowDown('flatten', 500)
    const source = { ...(await own.makeDisk()), snap: 's' }
    await own.snapshot(source, true)
    const content = await own.fingerprint(source)
    const child = { pool: given.pools.images, image: randomUUID() }
    expect(await volumes.ensureClone(source, child, patient())).toBe('verified')
    await killedWhen(/[2-6]\d% complete/, 'flatten', `${child.pool}/${child.image}`)
    expect(await own.parentOf(child)).toEqual(source)
    await untilDone(
      () => volumes.flatten(child, patient()),
      (p) => p.is === 'done',
    )
    expect(await own.fingerprint(child)).toBe(content)
  })

  /** `rbd`, killed when it says that on stderr. */
  async function killedWhen(says: RegExp, ...args: string[]): Promise<void> {
    const child = spawn('rbd', ['--conf', lab.ceph.conf, ...args], { stdio: ['ignore', 'ignore', 'pipe'] })
    child.stderr.setEncoding('utf8').on('data', (text: string) => says.test(text) && child.kill('SIGKILL'))
    await once(child, 'close')
  }
})
