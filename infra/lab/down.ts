import { existsSync, rmSync } from 'node:fs'
import { unlinkConf } from './clusters.ts'
import { inLab } from './folders.ts'
import { labFolder } from './lab.ts'
import { endGuests } from './libvirt.ts'
import { unmake } from './part.ts'
import { partNamed, parts } from './parts.ts'
import { pidOf, stop } from './process.ts'

/**
 * `npm run lab:down [-- PART...]`: stops the parts named, or all; a part that only is made is made again at the next lab:up.
 * `--wipe` stops all and leaves nothing of the lab but Debian's packages.
 */
const args = process.argv.slice(2)
const wipes = args.includes('--wipe')
const named = args.filter((arg) => arg !== '--wipe')

async function main(): Promise<void> {
  const chosen = named.length > 0 && !wipes ? named.map(partNamed) : parts
  if (chosen === parts && pidOf('libvirtd') !== null) await endGuests()
  if (chosen === parts) rmSync(inLab('lab.json'), { force: true })
  // What was started last needs the others, and ends first.
  for (const { name, program } of [...chosen].reverse()) {
    if (program === undefined && chosen !== parts) unmake(name)
    if (pidOf(name) === null) continue
    await stop(name)
    process.stderr.write(`${name} stopped\n`)
  }
  if (!wipes || !existsSync(inLab('made'))) return
  unlinkConf()
  rmSync(labFolder, { recursive: true, force: true })
  process.stderr.write(`${labFolder} removed\n`)
}

try {
  await main()
} catch (error) {
  process.stderr.write(`error: ${(error as Error).message}\n`)
  process.exitCode = 1
}
