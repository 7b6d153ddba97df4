import { heeding } from './heed.ts'
import { Failure } from '../../shared/failures.ts'
import type { Guest } from '../../shared/ports/guest.ts'
import type { Clock } from '../../shared/ports/clock.ts'

/** From the guest's own clock. */
export interface FreezeInterval {
  instance: string
  /** whose lease it was under */
  holder: string | null
  fromMs: number
  /** null: frozen still */
  toMs: number | null
  /** the moments of `snap create` on its disk while it was frozen */
  snapsAtMs: number[]
  /** when nobody could have thawed it: its agent was dead, or it was suspended */
  unreachable: { fromMs: number; toMs: number | null }[]
}

interface Vm {
  agent: 'alive' | 'dead' | 'none'
  /** `off`: no qemu; `saved`: managedSave, which keeps a freeze over the restart */
  power: 'on' | 'off' | 'saved'
  current: FreezeInterval | null
}

export type FakeGuests = ReturnType<typeof fakeGuests>

/** Guests with qemu-guest-agents in them. They note every freeze themselves: what they noted is the evidence. */
export function fakeGuests(clock: Clock, holderOf: (instance: string) => string | null) {
  const vms = new Map<string, Vm>()
  const intervals: FreezeInterval[] = []
  /** asked to freeze while frozen: two freezes at a time */
  const frozenTwice: string[] = []
  const vm = (instance: string): Vm => {
    if (!/^[0-9a-f-]{36}$/i.test(instance)) throw new Failure('BAD_REQUEST', `${instance} is not an instance`)
    const found = vms.get(instance)
    if (!found) throw new Failure('QUIESCE_UNAVAILABLE', `instance ${instance} has no guest agent's channel`)
    return found
  }
  const end = (found: Vm) => {
    if (found.current) found.current.toMs = clock.nowMs()
    found.current = null
  }
  const settleReach = (found: Vm) => {
    const isReachable = found.agent === 'alive' && found.power === 'on'
    const spans = found.current?.unreachable
    const last = spans?.at(-1)
    if (last?.toMs === null) last.toMs = clock.nowMs()
    if (!isReachable) spans?.push({ fromMs: clock.nowMs(), toMs: null })
  }
  const mustAnswer = (found: Vm, instance: string) => {
    if (found.agent === 'dead')
      throw new Failure('GUEST_UNREACHABLE', `instance ${instance}: the guest agent does not answer`)
  }
  const hasChannel = (found: Vm | undefined): found is Vm =>
    found !== undefined && found.agent !== 'none' && found.power === 'on'

  const answering = (instance: string): Vm => {
    const found = vm(instance)
    if (!hasChannel(found)) throw new Failure('QUIESCE_UNAVAILABLE', `instance ${instance} has no channel`)
    mustAnswer(found, instance)
    return found
  }
  const begin = (found: Vm, instance: string) => {
    const holder = holderOf(instance)
    found.current = { instance, holder, fromMs: clock.nowMs(), toMs: null, snapsAtMs: [], unreachable: [] }
    intervals.push(found.current)
  }

  const port: Guest = heeding<Guest>({
    proves: 'filesystem',
    async reach({ instance }) {
      answering(instance)
      return { instance, host: null }
    },
    async freeze({ instance }, untilMs) {
      if (clock.nowMs() > untilMs) throw new Failure('TIMEOUT', 'too late')
      const found = answering(instance)
      // The agent is not asked again, but somebody meant to: two freezes at a time.
      if (found.current) frozenTwice.push(instance)
      else begin(found, instance)
    },
    /** as by Nova's RPC, the worse of the two: it finds out by freezing */
    async hasHeld({ instance }, untilMs) {
      const found = vm(instance)
      if (!hasChannel(found) || clock.nowMs() > untilMs) return false
      mustAnswer(found, instance)
      if (found.current) return true
      begin(found, instance)
      return false
    },
    async thaw({ instance }) {
      const found = vms.get(instance)
      if (!hasChannel(found)) return 'unheard'
      mustAnswer(found, instance)
      end(found)
      return 'thawed'
    },
  })

  return {
    port,
    intervals,
    frozenTwice,
    boot(instance: string, agent: Vm['agent'] = 'alive'): void {
      vms.set(instance, { agent, power: 'on', current: null })
    },
    setAgent(instance: string, agent: Vm['agent']): void {
      const found = vms.get(instance)
      if (!found) return
      found.agent = agent
      settleReach(found)
    },
    save(instance: string): void {
      const found = vms.get(instance)
      if (found?.power !== 'on') return
      found.power = 'saved'
      settleReach(found)
    },
    /** from managedSave, as it was */
    resume(instance: string): void {
      const found = vms.get(instance)
      if (found?.power !== 'saved') return
      found.power = 'on'
      settleReach(found)
    },
    powerOff(instance: string): void {
      const found = vms.get(instance)
      if (!found) return
      settleReach(found)
      end(found)
      found.power = 'off'
    },
    hasAgent: (instance: string) => (vms.get(instance)?.agent ?? 'none') !== 'none',
    /** a dead agent is started again */
    revive(instance: string): void {
      if (vms.get(instance)?.agent === 'dead') this.setAgent(instance, 'alive')
    },
    isFrozen: (instance: string) => vms.get(instance)?.current != null,
    frozenSinceMs: (instance: string) => vms.get(instance)?.current?.fromMs ?? null,
    isRunning: (instance: string) => vms.get(instance)?.power === 'on',
    noteSnap(instance: string): void {
      vms.get(instance)?.current?.snapsAtMs.push(clock.nowMs())
    },
  }
}
