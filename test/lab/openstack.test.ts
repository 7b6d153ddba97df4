import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { readLab } from '../../infra/lab/lab.ts'
import { glance } from '../../shared/adapters/glance.ts'
import { type Identity, keystone } from '../../shared/adapters/keystone.ts'
import { nova } from '../../shared/adapters/nova.ts'
import { describeCompute } from '../contract/compute.contract.ts'
import { clock } from '../contract/embedded-cloud.ts'
import { describeIdentity } from '../contract/identity.contract.ts'
import { describeImages, type ImagesWorld } from '../contract/images.contract.ts'
import { expectFailure, patient } from '../contract/outcome.ts'
import { rbd } from './hands.ts'
import { computeWorld, credentialsOf, identityWorld, imagesWorld, passwordOf } from './lab-openstack.ts'

const lab = readLab()

describeIdentity('Keystone', () => identityWorld(lab))
describeImages('Glance', () => imagesWorld(lab))
describeCompute('Nova', () => computeWorld(lab))

/** Without a proxy in between. */
describe('what only the real services can answer', () => {
  /** Its first token is nobody's. */
  function withStaleToken(): Identity {
    const real = keystone(credentialsOf(lab), clock)
    let isStale = true
    return {
      ...real,
      token: async (signal) => (isStale ? `gAAAAA${'x'.repeat(177)}` : real.token(signal)),
      forget(token) {
        isStale = false
        real.forget(token)
      },
    }
  }
  it('a token that is not known is a 401, and a new one is taken', async () => {
    const image = glance(withStaleToken(), { endpoint: lab.glance.internal })
    expect(await image.find(lab.images.plain, patient())).toMatchObject({ name: 'plain' })
    expect(await nova(withStaleToken()).find(randomUUID(), patient())).toBeNull()
  })

  it('a user without rights is refused, by whom and why', async () => {
    const identity = keystone(passwordOf(lab, lab.people.tenant), clock)
    await expectFailure(nova(identity).tagged('snapshot', patient()), 'NOVA_REFUSED', /Nova answered 403/)
    const images = glance(identity, { endpoint: lab.glance.internal })
    const record = { id: randomUUID(), name: 'no', owner: lab.people.other.projectId, minDiskGib: 0, properties: {} }
    await expectFailure(images.ensureQueued(record, patient()), 'GLANCE_REFUSED', /403.*not permitted to create images/)
  })

  describe('Glance', () => {
    let world: ImagesWorld
    beforeAll(async () => {
      world = await imagesWorld(lab)
    })
    afterAll(() => world.close())

    async function active(): Promise<string> {
      const id = randomUUID()
      const properties = { rbdsnap_run: randomUUID() }
      await world.images.ensureQueued({ id, name: 'x', owner: world.project, minDiskGib: 0, properties }, patient())
      const { url, sizeBytes } = await world.makeVolume(id)
      await world.images.ensureLocation(id, url, sizeBytes, patient())
      return id
    }

    it('that has as many properties as it takes is QUOTA', async () => {
      const id = await active()
      const many = Object.fromEntries(Array.from({ length: 200 }, (_, nth) => [`property_${String(nth)}`, 'x']))
      await expectFailure(world.images.setProperties(id, many, patient()), 'QUOTA', /413/)
    })

    it('does not let go of bytes that somebody has cloned, nor of an image that is protected', async () => {
      const id = await active()
      const child = `${lab.ceph.pools.images}/rbdsnap-test-${randomUUID().slice(0, 8)}`
      await rbd(lab, 'clone', '--rbd-default-clone-format', '1', `${lab.ceph.pools.images}/${id}@snap`, child)
      await expect(world.remove(id)).rejects.toThrow(/^409.*in use/)
      await rbd(lab, 'rm', '--no-progress', child)
      await world.images.setProtected(id, true, patient())
      await expect(world.remove(id)).rejects.toThrow(/^403.*protected/)
      expect(await world.show(id)).toMatchObject({ status: 'active' })
    })
  })
})
