import { readdirSync, readFileSync, statSync } from 'node:fs'
import type { Story } from './story.ts'
import { pause } from './wait.ts'

/** What was seen, again and again, while something else went on. */
export interface Witness {
  /** what libvirt said that the guest does */
  powers: string[]
  /** what Nova said that the server is */
  states: string[]
  /** the largest file that the functions and the programs they started held open */
  largestFileBytes: number
}

/** Looks at the guest, at Nova and at the functions' open files as often as it can, for as long as `work` takes. */
export async function witnessed<T>(story: Story, server: string, work: () => Promise<T>): Promise<[T, Witness]> {
  const { guests, servers, engine } = story
  const powers = new Set<string>()
  const states = new Set<string>()
  let largestFileBytes = 0
  let isOver = false
  const watch = async () => {
    while (!isOver) {
      powers.add(await guests.power(server))
      states.add((await servers.show(server))['OS-EXT-STS:vm_state'])
      largestFileBytes = Math.max(largestFileBytes, largestFileOf(engine.stack.pid('functions')))
      await pause(100)
    }
  }
  const watching = watch()
  const result = await work().finally(() => (isOver = true))
  await watching
  return [result, { powers: [...powers], states: [...states], largestFileBytes }]
}

/** Also one that has no name any more. */
function largestFileOf(pid: number): number {
  return Math.max(0, ...family(pid).flatMap((member) => glance(() => openFilesOf(member)) ?? []))
}

function openFilesOf(pid: number): number[] {
  const folder = `/proc/${pid}/fd`
  return readdirSync(folder).map((fd) => {
    const file = glance(() => statSync(`${folder}/${fd}`))
    return file?.isFile() === true ? file.size : 0
  })
}

/** The process and all that it, or they, started. */
function family(pid: number): number[] {
  const children = readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name) && parentOf(name) === pid)
    .map(Number)
  return [pid, ...children.flatMap(family)]
}

/** The second word behind the name in brackets (proc(5)). */
function parentOf(pid: string): number | null {
  const stat = glance(() => readFileSync(`/proc/${pid}/stat`, 'utf8'))
  return stat === null ? null : Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1])
}

/** null when the process is gone by now */
function glance<T>(look: () => T): T | null {
  try {
    return look()
  } catch {
    return null
  }
}
