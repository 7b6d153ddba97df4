// Loaded into a process (node --import) whose clock is to be wrong: by how much stands in the file that the URL names, and is read
// once, when the process starts. The monotonic clock is right, as it is on a host with a broken NTP.
import { readFileSync } from 'node:fs'

const file = new URL(import.meta.url).searchParams.get('file') ?? ''
const skewMs = Number(readFileSync(file, 'utf8'))
const TrueDate = Date

globalThis.Date = class extends TrueDate {
  constructor(...given) {
    if (given.length === 0) super(TrueDate.now() + skewMs)
    else super(...given)
  }

  static now() {
    return TrueDate.now() + skewMs
  }
}
