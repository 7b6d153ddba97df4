import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { runningStack, startStack } from '../../infra/embedded/stack.ts'

const stack = { env: {}, controlUrl: 'http://127.0.0.1:1', statusUrl: 'http://127.0.0.1:2/status' }
/** A process that is alive and not this one. */
const pid = process.ppid

let folder = ''
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'rbdsnap-stack-'))
  mkdirSync(join(folder, 'logs'))
  writeFileSync(join(folder, 'stack.json'), JSON.stringify(stack))
})
afterEach(() => rmSync(folder, { recursive: true }))

describe('the lock on a data folder', () => {
  it.runIf(process.platform === 'linux')('is held by the process that took it', async () => {
    const boot = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim()
    const born =
      readFileSync(`/proc/${pid}/stat`, 'utf8')
        .replace(/^.*\) /s, '')
        .split(' ')[19] ?? ''
    writeFileSync(join(folder, 'stack.pid'), `${pid} ${boot}/${born}`)
    expect(runningStack(folder)).toEqual(stack)
    await expect(startStack(folder)).rejects.toThrow(`(process ${pid})`)
  })

  it.runIf(process.platform === 'linux')('is free when the number is now that of another process', () => {
    writeFileSync(join(folder, 'stack.pid'), `${pid} 00000000-0000-4000-8000-000000000000/1`)
    expect(runningStack(folder)).toBeNull()
  })

  it('is free when the process is gone, or nobody took it', () => {
    expect(runningStack(folder)).toBeNull()
    writeFileSync(join(folder, 'stack.pid'), `${2 ** 22 + 1} boot/1`)
    expect(runningStack(folder)).toBeNull()
  })
})
