import { describeLab } from './describe.ts'
import { labFolder } from './lab.ts'
import { makeFolders } from './folders.ts'
import { bringUp, isUp, type Part } from './part.ts'
import { partNamed, parts } from './parts.ts'

/** `npm run lab:up`: whatever is not made or does not run, each part as soon as those that it needs are there. One line a part. */
async function main(): Promise<void> {
  if (process.getuid?.() !== 0) throw new Error('the lab needs root: it installs packages and runs libvirtd')
  makeFolders()
  const startedMs = performance.now()
  const begun = new Map<string, Promise<boolean>>()
  const all = await Promise.all(parts.map((part) => up(part, begun)))
  if (!all.every(Boolean)) throw new Error('the lab is not complete; `npm run lab:up` goes on where it was')
  await describeLab()
  say('lab', 'up', startedMs)
}

function up(part: Part, begun: Map<string, Promise<boolean>>): Promise<boolean> {
  const again = begun.get(part.name)
  if (again !== undefined) return again
  const coming = (async () => {
    const needed = await Promise.all(part.needs.map((name) => up(partNamed(name), begun)))
    const missing = part.needs.filter((_, i) => needed[i] !== true)
    if (missing.length > 0) return complain(part, `waits for ${missing.join(', ')}`)
    const [startedMs, wasUp] = [performance.now(), isUp(part)]
    try {
      await bringUp(part)
    } catch (error) {
      return complain(part, (error as Error).message)
    }
    say(part.name, wasUp ? 'was up' : part.program === undefined ? 'made' : 'up', startedMs)
    return true
  })()
  begun.set(part.name, coming)
  return coming
}

function say(name: string, state: string, startedMs: number): void {
  const seconds = ((performance.now() - startedMs) / 1000).toFixed(1)
  process.stderr.write(`${name.padEnd(18)} ${state.padEnd(8)} ${seconds.padStart(6)} s\n`)
}

function complain(part: Part, words: string): false {
  process.stderr.write(`${part.name.padEnd(18)} FAILED   ${words}\n`)
  return false
}

try {
  await main()
} catch (error) {
  process.stderr.write(`error: ${(error as Error).message} (${labFolder})\n`)
  process.exitCode = 1
}
