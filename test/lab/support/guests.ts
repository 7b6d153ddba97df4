import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import type { Lab } from '../../../infra/lab/lab.ts'

/** Libvirt on the hypervisor: what the guest itself says of its file systems. */
export interface Guests {
  /** ids of the instances that run */
  running(): Promise<string[]>
  /** null when no agent answers */
  freezeState(instance: string): Promise<'frozen' | 'thawed' | null>
  /** what libvirt says the domain does: running, paused, shut off ... */
  power(instance: string): Promise<string>
  thaw(instance: string): Promise<void>
}

const run = promisify(execFile)
const agentAnswersWithinS = '5'

export function guestsOf({ libvirt: { uri } }: Pick<Lab, 'libvirt'>): Guests {
  const virsh = async (...args: string[]) => (await run('virsh', ['-c', uri, ...args])).stdout.trim()
  return {
    async running() {
      return (await virsh('list', '--uuid')).split('\n').filter((line) => line !== '')
    },
    async freezeState(instance) {
      try {
        const ask = JSON.stringify({ execute: 'guest-fsfreeze-status' })
        const said = await virsh('qemu-agent-command', '--timeout', agentAnswersWithinS, instance, ask)
        return (JSON.parse(said) as { return: 'frozen' | 'thawed' }).return
      } catch {
        return null
      }
    },
    power: (instance) => virsh('domstate', instance),
    async thaw(instance) {
      await virsh('domfsthaw', instance)
    },
  }
}
