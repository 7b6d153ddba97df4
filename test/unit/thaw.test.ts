import { describe, expect, it } from 'vitest'
import { thaw } from '../../functions/thaw.ts'
import { Failure, type FailureCode } from '../../shared/failures.ts'
import type { Lease } from '../../shared/ports/journal.ts'
import { context, instance, leasesOf, nowMs, portsOf } from './given.ts'

const key = `instance/${instance}`
const frozen: Lease = {
  key,
  version: 1,
  holder: 'a run',
  epoch: 3,
  untilMs: nowMs + 30_000,
  freeze: { askedAtMs: nowMs - 5_000, isConfirmed: true, host: 'one' },
  thawed: null,
}
const failing = (code: FailureCode) => async () => {
  throw new Failure(code, 'x')
}

interface Situation {
  lease?: Lease | null
  epoch?: number
  thaw?: () => Promise<'thawed'>
}

function inSituation(given: Situation = {}) {
  const leases = leasesOf(...(given.lease === null ? [] : [given.lease ?? frozen]))
  const { ports, calls } = portsOf({
    guest: { thaw: given.thaw ?? (async () => 'thawed') },
    leases,
  })
  const act = () => thaw({ v: 1, step: 'thaw', instance, epoch: given.epoch ?? 3 }, ports, context())
  return { act, calls, lease: () => leases.of(key) }
}
const unconfirmed = (ageMs: number): Lease => ({
  ...frozen,
  freeze: { askedAtMs: nowMs - ageMs, isConfirmed: false, host: 'one' },
})

describe("the dead man's switch", () => {
  it('thaws the guest, frees the instance, and notes when', async () => {
    const { act, calls, lease } = inSituation()
    expect(await act()).toBeNull()
    expect(calls).toContain(`guest.thaw ${instance}`)
    expect(lease()).toMatchObject({ holder: null, freeze: null, thawed: { epoch: 3, atMs: nowMs } })
  })

  it.each<[string, Situation]>([
    ['nobody ever froze', { lease: null }],
    ['the freeze is over', { lease: { ...frozen, freeze: null } }],
    ['another freeze has begun since', { epoch: 2 }],
  ])('does nothing when %s', async (_when, situation) => {
    const { act, calls } = inSituation(situation)
    expect(await act()).toBeNull()
    expect(calls.filter((call) => call.startsWith('guest'))).toEqual([])
  })

  it('never stops trying while the guest does not answer', async () => {
    for (const code of ['GUEST_UNREACHABLE', 'NOVA_UNREACHABLE', 'NOVA_REFUSED'] as const) {
      const { act, lease } = inSituation({ thaw: failing(code) })
      expect(await act()).toEqual({ againInMs: 2_000 })
      expect(lease()).toMatchObject({ holder: 'a run', epoch: 3, freeze: frozen.freeze })
    }
  })

  it('tries less often after a minute', async () => {
    const old = { ...frozen, freeze: { askedAtMs: nowMs - 60_000, isConfirmed: true, host: 'one' } }
    expect(await inSituation({ thaw: failing('GUEST_UNREACHABLE'), lease: old }).act()).toEqual({ againInMs: 10_000 })
  })

  it('waits as long as the way to the guest asks for', async () => {
    const thaw = async () => {
      throw new Failure('GUEST_UNREACHABLE', 'x', { retryInMs: 30_000 })
    }
    const { act, lease } = inSituation({ thaw })
    expect(await act()).toEqual({ againInMs: 30_000 })
    expect(lease()).toMatchObject({ freeze: frozen.freeze, untilMs: nowMs + 60_000 })
  })

  it('keeps the lease alive while it comes back, so that the sweep sends no twin', async () => {
    const { act, lease } = inSituation({ thaw: failing('GUEST_UNREACHABLE') })
    await act()
    expect(lease()?.untilMs).toBe(nowMs + 2_000 + 30_000)
  })

  it('is content with a guest that has no agent: nothing can be frozen there', async () => {
    const { act, lease } = inSituation({ thaw: failing('QUIESCE_UNAVAILABLE') })
    expect(await act()).toBeNull()
    expect(lease()?.freeze).toBeNull()
  })

  it('comes back once a budget while a freeze that was asked for may still arrive', async () => {
    const { act, calls, lease } = inSituation({ lease: unconfirmed(59_999) })
    expect(await act()).toEqual({ againInMs: 5_000 })
    expect(calls).toContain(`guest.thaw ${instance}`)
    expect(lease()?.freeze).not.toBeNull()
  })

  it('ends when it can no longer arrive', async () => {
    const { act, lease } = inSituation({ lease: unconfirmed(60_000) })
    expect(await act()).toBeNull()
    expect(lease()?.freeze).toBeNull()
  })

  it('hands on what is no failure but a bug', async () => {
    const broken = async () => {
      throw new TypeError('a bug')
    }
    await expect(inSituation({ thaw: broken }).act()).rejects.toBeInstanceOf(TypeError)
  })
})
