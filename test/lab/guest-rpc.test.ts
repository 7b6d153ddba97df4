import { afterAll, describe, expect, it } from 'vitest'
import { readLab } from '../../infra/lab/lab.ts'
import { readBusUrl } from '../../shared/adapters/bus-url.ts'
import { guestNovaRpc } from '../../shared/adapters/guest-nova-rpc.ts'
import { novaRpc } from '../../shared/adapters/nova-rpc-bus.ts'
import type { GuestAt } from '../../shared/ports/guest.ts'
import { expectFailure, patient, untilDone } from '../contract/outcome.ts'
import { server } from '../unit/given.ts'
import { guestScene, rpcGuest } from './lab-guest.ts'

/** What only the real bus and the real nova-compute can show of freezing through Nova's RPC. */
const lab = readLab()
const scene = guestScene(lab)
afterAll(() => scene.close())
const at = (instance: string): GuestAt => ({ instance, host: null })
const soon = () => Date.now() + 60_000
const bus = readBusUrl(lab.env['RBDSNAP_BUS_URL'] ?? lab.bus.url)

describe('an agent that hangs after it was reached', () => {
  it('is frozen when it goes on, long after the call was given up, and the thaw is answered after that', async () => {
    const guest = rpcGuest(lab)
    const instance = await scene.server('on')
    await guest.reach(at(instance), patient())
    await scene.inGuest(instance, 'killall -STOP qemu-ga; sleep 25; killall -CONT qemu-ga')
    await expectFailure(
      guest.freeze(at(instance), soon(), patient()),
      'GUEST_UNREACHABLE',
      /did not answer within 5000 ms/,
    )
    await expectFailure(guest.thaw(at(instance), patient()), 'GUEST_UNREACHABLE')
    const thawed = await untilDone(
      () => guest.thaw(at(instance), patient()),
      (said) => said === 'thawed',
      10_000,
    )
    expect([thawed, await scene.guests.freezeState(instance)]).toEqual(['thawed', 'thawed'])
    // and nothing of it is on its way any more
    await new Promise((done) => setTimeout(done, 5_000))
    expect(await scene.guests.freezeState(instance)).toBe('thawed')
  })
})

describe('the bus', () => {
  const nowhere = (more: Partial<Parameters<typeof novaRpc>[0]> = {}, host = 'no-such-host') =>
    guestNovaRpc(novaRpc({ bus, exchange: 'nova', timeoutMs: 5_000, ...more }), { find: async () => server({ host }) })
  const { id } = server()

  it('says at once that no nova-compute listens', async () => {
    const startedAtMs = Date.now()
    await expectFailure(nowhere().reach(at(id), patient()), 'GUEST_UNREACHABLE', /no nova-compute listens on the queue/)
    expect(Date.now() - startedAtMs).toBeLessThan(2_000)
  })

  it('says at once that an exchange leads nowhere', async () => {
    const startedAtMs = Date.now()
    const guest = nowhere({ exchange: 'amq.topic' }, lab.libvirt.hypervisor)
    await expectFailure(guest.reach(at(id), patient()), 'GUEST_UNREACHABLE')
    expect(Date.now() - startedAtMs).toBeLessThan(2_000)
  })

  it('is asked at another node when the first one is down', async () => {
    const guest = rpcGuest(lab, { bus: { urls: ['amqp://a:b@127.0.0.1:9/%2F', ...bus.urls], nodes: bus.nodes } })
    await guest.reach(at(await scene.server('on')), patient())
  })

  it('that refuses us is GUEST_UNREACHABLE, without a word of the password', async () => {
    const wrong = { urls: bus.urls.map((url) => url.replace(/:[^:@/]+@/, ':s3cret-of-nobody@')), nodes: bus.nodes }
    const failure: unknown = await nowhere({ bus: wrong })
      .reach(at(id), patient())
      .catch((error: unknown) => error)
    expect(failure).toMatchObject({
      code: 'GUEST_UNREACHABLE',
      words: expect.stringMatching(/ACCESS.REFUSED/) as unknown,
    })
    expect(String(failure)).not.toContain('s3cret')
  })

  it('is connected to anew after a rest', async () => {
    const guest = rpcGuest(lab)
    const instance = await scene.server('on')
    await guest.reach(at(instance), patient())
    await new Promise((done) => setTimeout(done, 7_000))
    await guest.reach(at(instance), patient())
  })
})
